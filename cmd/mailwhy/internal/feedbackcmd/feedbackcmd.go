// Package feedbackcmd is `mailwhy feedback`: what came back for mail that was relayed, and the way in for
// bounce mail that another program pipes into it. It prints; the relay that runs does the work.
package feedbackcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config/value"
	"mailwhy/relay/admin"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	relaycmd.Options
	// TempFail marks what a mail server is to try again: EX_TEMPFAIL of sysexits.h.
	TempFail func(error) error
	// SendBack marks what a mail server is to send back to its sender: EX_DATAERR.
	SendBack func(error) error
}

// flags are the flags of the command.
type flags struct {
	o      Options
	json   bool
	state  string
	source string
	since  string
	from   string
	to     string
	wait   time.Duration
}

// maxMail is how much of a mail is read, bytes.
const maxMail = 64 << 20

// New is the command.
func New(o Options) *cobra.Command {
	f := &flags{o: o}
	c := &cobra.Command{
		Use:   "feedback",
		Short: "Show the bounces and complaints that came back for relayed mail",
		Long: `Providers report bounces by webhook, other servers by mail. The relay matches each report to
its message and explains it in the delivery log; mailwhy queue show ID and mailwhy log --id ID show the
whole history. These commands show the reports that are waiting or could not be matched.

Without a subcommand it reads a bounce mail from standard input and hands it to the running relay, for
an alias of a mail server: "|mailwhy feedback". The exit status is 75 when the mail server should retry,
and 65 for personal mail, which the mail server then returns to its sender.

  mailwhy feedback < bounce.eml
  mailwhy feedback list --state unmatched
  mailwhy feedback replay --since 2d
  mailwhy feedback test ses --from app@shop.example --to bounce@simulator.amazonses.com`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.pipe(c.Context(), c.InOrStdin())
		},
	}
	o.Flags(c)
	list := &cobra.Command{
		Use: "list", Short: "List the reports that are waiting or could not be used", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.list(c.Context(), c.OutOrStdout()) },
	}
	f.filters(list)
	list.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	show := &cobra.Command{
		Use: "show ID", Short: "Show a report as it arrived", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.show(c.Context(), args[0], c.OutOrStdout())
		},
	}
	show.Flags().BoolVar(&f.json, "json", false, "print the report as JSON")
	c.AddCommand(list, show, f.newReplay(), f.newTest())
	return c
}

// filters adds the flags that select reports.
func (f *flags) filters(c *cobra.Command) {
	c.Flags().StringVar(&f.state, "state", "",
		"only in this `state`: waiting, unmatched, unreadable, unproven")
	c.Flags().StringVar(&f.source, "source", "", "only from this webhook or mailbox, by its `name`")
	c.Flags().StringVar(&f.since, "since", "", "only those that came this `long` ago or later: 30m, 4h, 2d")
}

// filter is the filter that the flags make.
func (f *flags) filter(now time.Time) (admin.ReportFilter, error) {
	out := admin.ReportFilter{State: f.state, Source: f.source}
	switch f.state {
	case "", "waiting", "unmatched", "unreadable", "unproven":
	default:
		return out, f.o.Usage(fmt.Errorf("--state %q: write waiting, unmatched, unreadable or unproven",
			f.state))
	}
	if f.since != "" {
		d, err := value.ParseDuration(f.since)
		if err != nil {
			return out, f.o.Usage(fmt.Errorf("--since: %w", err))
		}
		out.Since = now.Add(-d)
	}
	return out, nil
}

// client is a client of the relay that the flags choose.
func (f *flags) client() (*admin.Client, error) {
	cfg, err := f.o.Load()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg.Admin.Socket), nil
}

// pipe hands a mail to the relay. Whatever goes wrong, the mail server keeps the mail and tries again: a
// configuration with a mistake in it, too.
func (f *flags) pipe(ctx context.Context, in io.Reader) error {
	if terminal(in) {
		return f.o.Usage(errors.New("a mail is read from standard input: mailwhy feedback < bounce.eml"))
	}
	content, err := io.ReadAll(io.LimitReader(in, maxMail))
	if err != nil {
		return f.o.TempFail(err)
	}
	client, err := f.client()
	if err != nil {
		return f.o.TempFail(err)
	}
	taken, err := client.Mail(ctx, content)
	if err != nil {
		return f.o.TempFail(err)
	}
	if !taken {
		return f.o.SendBack(errors.New("this is a person's mail, not a report, and this address is read " +
			"by a program: nothing was done with it"))
	}
	return nil
}

// terminal reports whether a person would have to type the mail.
func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
