// Package policycmd is `mailwhy policy test`: which policy decides about a refusal, and what is done. It
// prints; relay/app knows the policies.
package policycmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app/query"
	"mailwhy/relay/lane"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage func(error) error                         // marks a mistake of whoever typed the command
	Load  func(file string) (*config.Config, error) // reads the configuration; "" is the environment's
}

// New is the command.
func New(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Show what the configured policies do about a refusal",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTest(o))
	return c
}

// newTest is policy test.
func newTest(o Options) *cobra.Command {
	var file, stage string
	var q query.Policy
	var asJSON bool
	c := &cobra.Command{
		Use:   "test REPLY",
		Short: "Show which policy matches a reply, and what it does",
		Long: `Prints what the reply means, which [[policy]] of the configuration matches, and what happens
to the mail. Nothing is sent, and no connection is made.

  mailwhy policy test -c relay.toml '550 5.7.1 Message blocked due to spam content'
  mailwhy policy test -c relay.toml --to joe@partner.example --attempt 3 '450 4.2.1 Mailbox busy'`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q.Reply, q.Stage = args[0], diagnose.Stage(strings.ReplaceAll(stage, "-", "_"))
			cfg, err := o.Load(file)
			var a query.PolicyAnswer
			if err == nil {
				a, err = q.Answer(cfg)
			}
			if err != nil {
				return o.Usage(err)
			}
			return write(c.OutOrStdout(), newAnswer(&a), asJSON)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration `file` (see relay.example.toml)")
	f.StringVar(&stage, "stage", string(diagnose.StageRcpt), "SMTP `stage` at which the reply was given")
	f.StringVar(&q.To, "to", "", "recipient")
	f.StringVar(&q.From, "from", "", "envelope sender; <> is the null sender")
	f.StringVar(&q.Client, "client", "", "name of the [[client]] or user")
	f.StringVar(&q.Upstream, "upstream", "", "name of the upstream; default: the one that the routes choose")
	f.IntVar(&q.Attempt, "attempt", 1, "number of the attempt")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// answer is what is printed.
type answer struct {
	Category diagnose.Category `json:"category"`
	Reason   diagnose.Reason   `json:"reason"`
	Policy   string            `json:"policy,omitempty"`
	Action   lane.Action       `json:"action,omitempty"`
	Note     string            `json:"note,omitempty"`
	Outcome  relay.State       `json:"outcome"`
	WaitS    float64           `json:"wait_s,omitempty"`
	wait     time.Duration
}

// newAnswer is a in words.
func newAnswer(a *query.PolicyAnswer) answer {
	out := answer{Category: a.Diagnosis.Category, Reason: a.Diagnosis.Reason, Outcome: a.State,
		WaitS: a.Wait.Seconds(), wait: a.Wait}
	if a.Ruling == nil {
		return out
	}
	out.Policy, out.Action = a.Ruling.Policy, a.Ruling.Action
	out.Note = a.Note()
	return out
}

// write prints a, as JSON or for people.
func write(w io.Writer, a answer, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(a)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	policy := "none fits: the reply decides"
	if a.Policy != "" {
		policy = fmt.Sprintf("%s: %s", a.Policy, a.Action)
		if a.Note != "" {
			policy += "; " + a.Note
		}
	}
	outcome := string(a.Outcome)
	if a.Outcome == relay.Deferred && a.wait > 0 {
		outcome += ", tried again after " + value.FormatDuration(a.wait.Round(time.Second))
	} else if a.Outcome == relay.Deferred {
		outcome += ", tried again at once"
	}
	_, err := fmt.Fprintf(w, "diagnosis  %s (%s)\npolicy     %s\noutcome    %s\n", a.Reason, a.Category,
		policy, outcome)
	return err
}
