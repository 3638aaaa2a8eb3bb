// Package routecmd is `mailwhy route`: which way mail would take by a configuration, and why. It prints;
// relay/app knows the way.
package routecmd

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/accept"
	"mailwhy/relay/app/query"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage  func(error) error                         // marks a mistake of whoever typed the command
	Failed error                                     // says that the answer is no
	Load   func(file string) (*config.Config, error) // reads the configuration; "" is the environment's
}

// New is the command.
func New(o Options) *cobra.Command {
	var file string
	var q query.Route
	var asJSON bool
	c := &cobra.Command{
		Use:   "route --from ADDRESS --to ADDRESS",
		Short: "Say which upstreams mail would go to, and why",
		Long: `Says by the configuration which route the mail for a recipient takes, which of its keys fit,
and which upstreams it may go to, in order of preference. A relay passes over one that is paused,
or has had its mail of the day. Nothing is sent or connected to.

The exit status is 1 when no upstream may send the mail.

  mailwhy route -c relay.toml --from app@shop.example --to joe@there.example
  mailwhy route -c relay.toml --from '<>' --to joe@there.example --header 'List-Id: <news>'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.Load(file)
			var routes []accept.Route
			if err == nil {
				routes, err = q.Routes(cfg)
			}
			if err != nil {
				return o.Usage(err)
			}
			if err := printRoutes(c.OutOrStdout(), q.To, routes, asJSON); err != nil {
				return err
			}
			if slices.ContainsFunc(routes, func(r accept.Route) bool { return len(r.Upstreams) == 0 }) {
				return o.Failed
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration `file` (see relay.example.toml)")
	f.StringVar(&q.From, "from", "", "envelope sender; <> is the null sender")
	f.StringArrayVar(&q.To, "to", nil, "recipient; may be given several times")
	f.StringVar(&q.Client, "client", "", "name of the client network")
	f.StringVar(&q.User, "user", "", "name that the client authenticated with")
	f.StringArrayVar(&q.Headers, "header", nil, "header field of the mail, as \"Name: value\"")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// answer is the way to one recipient.
type answer struct {
	To        string   `json:"to"`
	Route     string   `json:"route,omitempty"`
	Reason    string   `json:"reason"`
	Upstreams []string `json:"upstreams,omitempty"` // in order of preference
}

// printRoutes prints the ways to recipients.
func printRoutes(w io.Writer, to []string, routes []accept.Route, asJSON bool) error {
	for i, r := range routes {
		a := answer{To: to[i], Route: r.Rule, Reason: r.Reason, Upstreams: r.Upstreams}
		if a.Reason == "" {
			a.Reason = "the only route"
		}
		if !asJSON {
			fmt.Fprint(w, a.text())
			continue
		}
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", b)
	}
	return nil
}

// text is the answer for people.
func (a *answer) text() string {
	upstreams := strings.Join(a.Upstreams, ", then ")
	if upstreams == "" {
		upstreams = "none: the mail is refused"
	}
	why := a.Reason
	if a.Route != "" {
		why = a.Route + ": " + a.Reason
	}
	return fmt.Sprintf("%s\n  route      %s\n  upstreams  %s\n", a.To, why, upstreams)
}
