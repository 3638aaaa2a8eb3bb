package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailwhy/diagnose"
	"mailwhy/relay/feedback/webhook"
)

// diagnoser is one run of mailwhy diagnose.
type diagnoser struct {
	engine *diagnose.Engine
	in     io.Reader
	out    io.Writer
	errOut io.Writer

	stage     string
	rules     string
	json      bool
	text      bool
	log       bool
	dsn       string
	event     string
	provider  string
	enrich    bool
	unmatched bool
	suggest   bool
	blocks    int  // printed for people
	failed    bool // something could not be read: exit status 1 at the end
}

func newDiagnoseCommand() *cobra.Command {
	d := &diagnoser{}
	c := &cobra.Command{
		Use:   "diagnose [REPLY... | --dsn FILE... | --event FILE... | --log | --unmatched FILE...]",
		Short: "Explain refusals: what they mean and what to do",
		Long: `Explains each reply given as an argument, or each line of standard input: the reason and who
must act, then the guide's category, the cause, the fix, and what the answer rests on. A reply of
several lines is one argument, or one line in which \r\n or \n stands for each line end.

  mailwhy diagnose '550 5.1.1 user unknown'
  mailwhy diagnose --stage auth '535 5.7.8 authentication failed'
  mailwhy diagnose --json < replies.txt
  mailwhy diagnose --text 'Connection timed out'

It also reads whole bounces, what providers send to webhooks, logs of Postfix, and mailwhy's own
delivery log:

  mailwhy diagnose --dsn bounce.eml              each recipient of a bounce
  mailwhy diagnose --dsn - --enrich < b > c      the bounce with the diagnosis added to it
  mailwhy diagnose --event payload.json          each event in what a provider sent to a webhook
  mailwhy diagnose --log < /var/log/mail.log     the log with the diagnosis behind each refusal
  mailwhy diagnose --unmatched delivery.log      the refusals that no rule matched, most frequent first
  mailwhy diagnose --unmatched --suggest FILE    a rule for each family of them, to edit

The exit status is 1 when a line holds no reply; the others are explained all the same.`,
	}
	f := c.Flags()
	f.BoolVar(&d.json, "json", false, "print one JSON object a line")
	f.StringVar(&d.stage, "stage", "",
		"where in the exchange the replies were given: "+strings.Join(stageNames(), ", "))
	f.BoolVar(&d.text, "text", false, "read wording that carries no code, as in a foreign mailer's report")
	f.StringVar(&d.dsn, "dsn", "",
		"explain the bounce in `FILE`, or - for standard input; more files may follow")
	f.StringVar(&d.event, "event", "",
		"explain the events in what a provider sent, in `FILE` or - for standard input; more may follow")
	f.StringVar(&d.provider, "provider", "",
		"with --event: the `name` of the provider, where its payload does not tell: "+
			strings.Join(webhook.Providers(), ", "))
	f.BoolVar(&d.enrich, "enrich", false, "with --dsn: emit the bounce with the diagnosis added")
	f.BoolVar(&d.log, "log", false,
		"annotate Postfix log lines from standard input; with --text those without a reply, too")
	f.BoolVar(&d.unmatched, "unmatched", false,
		"list the wordings in delivery logs that no rule matched; with --rules, those that your rules leave")
	f.BoolVar(&d.suggest, "suggest", false,
		"with --unmatched: print a rule skeleton for each family of wordings, for diagnose.rules_file")
	f.StringVar(&d.rules, "rules", "", "`file` of rules of your own, to try")
	c.RunE = func(c *cobra.Command, args []string) error {
		d.in, d.out, d.errOut = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
		return d.run(args)
	}
	return c
}

// run chooses what is read, and how.
func (d *diagnoser) run(args []string) error {
	err := d.checkModes(args)
	if err == nil {
		err = d.prepare()
	}
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	switch {
	case d.dsn != "":
		err = d.reports(append([]string{d.dsn}, args...))
	case d.event != "":
		err = d.payloads(append([]string{d.event}, args...))
	case d.log:
		err = d.annotateLog()
	case d.unmatched:
		err = d.sumUnmatched(args)
	default:
		err = d.replies(args)
	}
	if err == nil && d.failed {
		return &exitError{code: exitFailure} // what could not be read was said where it stood
	}
	return err
}

// checkModes refuses flags that do not go together.
func (d *diagnoser) checkModes(args []string) error {
	var modes []string
	for _, m := range [...]struct {
		name string
		set  bool
	}{{"--dsn", d.dsn != ""}, {"--event", d.event != ""}, {"--log", d.log}, {"--unmatched", d.unmatched}} {
		if m.set {
			modes = append(modes, m.name)
		}
	}
	switch {
	case len(modes) > 1:
		return fmt.Errorf("%s: only one of them can be asked for", strings.Join(modes, " and "))
	case d.enrich && d.dsn == "":
		return errors.New("--enrich goes with --dsn FILE")
	case d.enrich && (d.json || len(args) > 0):
		return errors.New("--enrich emits one bounce: it takes one file, and no --json")
	case d.log && len(args) > 0:
		return errors.New("--log reads standard input: mailwhy diagnose --log < FILE")
	case d.suggest && (!d.unmatched || d.json):
		return errors.New("--suggest goes with --unmatched, and prints rules, no --json")
	case d.provider != "" && d.event == "":
		return errors.New("--provider goes with --event FILE")
	case d.provider != "" && !slices.Contains(webhook.Providers(), d.provider):
		return fmt.Errorf("--provider %s: not a provider whose events are known; use one of %s",
			printable(d.provider), strings.Join(webhook.Providers(), ", "))
	case d.text && (d.dsn != "" || d.event != "" || d.unmatched):
		return errors.New("--text goes with replies and with --log")
	}
	return nil
}

// prepare checks the flags and makes the engine.
func (d *diagnoser) prepare() error {
	d.stage = strings.ReplaceAll(strings.ToLower(d.stage), "-", "_")
	if d.stage != "" && !slices.Contains(stageNames(), d.stage) {
		return fmt.Errorf("--stage %s: not a stage; use one of %s",
			printable(d.stage), strings.Join(stageNames(), ", "))
	}
	o := diagnose.Options{}
	if d.rules != "" {
		b, err := os.ReadFile(d.rules)
		if err != nil {
			return fmt.Errorf("--rules: %w", err)
		}
		o.Rules, o.RulesName = b, d.rules
	}
	var err error
	d.engine, err = diagnose.New(o)
	return err
}

// stageNames are the stages that --stage takes.
func stageNames() []string {
	stages := diagnose.Stages()
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = string(s)
	}
	return names
}

// replies explains the arguments, or each line of standard input when there are none.
func (d *diagnoser) replies(args []string) error {
	for _, a := range args {
		if err := d.reply(a); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		return nil
	}
	if f, ok := d.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(d.errOut, "mailwhy: reading replies, one a line, until the end of input (Ctrl-D)")
	}
	lines := newLineReader(d.in)
	for {
		line, whole, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if whole {
			err = d.reply(strings.TrimRight(string(line), "\r\n"))
		} else {
			tooLong := fmt.Errorf("the line is longer than %d bytes", maxLine)
			if err = d.print(unreadable(string(line), tooLong)); err == nil {
				err = lines.rest(io.Discard)
			}
		}
		if err != nil {
			return err
		}
	}
}

// reply explains one reply.
func (d *diagnoser) reply(s string) error {
	return d.print(d.explain(unescape(s)))
}

// explain says what one reply means, or why it cannot be read.
func (d *diagnoser) explain(s string) explained {
	symptom := diagnose.Symptom{Stage: diagnose.Stage(d.stage), Facts: diagnose.Facts{Now: time.Now()}}
	if d.text {
		if strings.TrimSpace(s) == "" {
			return unreadable(s, errors.New("the line is empty"))
		}
		symptom.Text = s
	} else if symptom.Reply = diagnose.ParseReply(s); symptom.Reply.Code == 0 {
		return unreadable(s, errors.New("no reply is found here: "+
			"a reply begins with a code from 200 to 799 (--text reads wording without one)"))
	}
	return explainSymptom(d.engine, &symptom)
}
