// Package suppresscmd is `mailwhy suppress`: the suppression list, looked into and changed. While a relay
// runs it does the work; otherwise the command opens the list itself.
package suppresscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/app/options"
	"mailwhy/relay/suppress"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	relaycmd.Options
	Failed error // ends with the status of a failure, after all was said
}

// flags are the flags of the command.
type flags struct {
	o       Options
	json    bool
	state   string
	reason  string
	scope   string
	sender  string
	forTime string
	note    string
	all     bool
}

// list is the suppression list, of the relay that runs or in its file.
type list interface {
	Suppressed(ctx context.Context, f relay.SuppressionFilter, each func(relay.Suppression) error) error
	Suppress(ctx context.Context, entries []relay.Suppression) ([]relay.SuppressionResult, error)
	Unsuppress(ctx context.Context, address, scope string) (int, error)
	SuppressionState(ctx context.Context) (admin.SuppressionState, error)
}

// New is the command.
func New(o Options) *cobra.Command {
	f := &flags{o: o}
	c := &cobra.Command{
		Use:   "suppress",
		Short: "Show and change the list of addresses that get no mail",
		Long: `The suppression list has the addresses that a server reported as nonexistent with certainty,
and those whose owners complained. With suppression.mode = "enforce" mail to them is refused or bounced and
never sent; with "observe", the default, the log only shows what would be suppressed.

  mailwhy suppress check jane@example.com
  mailwhy suppress remove jane@example.com
  mailwhy suppress import bounces.csv`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	o.Flags(c)
	c.AddCommand(f.newList(), f.newCheck(), f.newAdd(), f.newRemove(), f.newImport(), f.newExport())
	return c
}

// newList is the command list.
func (f *flags) newList() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the entries", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.list(c.Context(), c.OutOrStdout()) },
	}
	c.Flags().StringVar(&f.state, "state", "", "only entries in this `state`: noted, suppressed, trial")
	c.Flags().StringVar(&f.reason, "reason", "", "only entries with this `reason`, such as user_unknown")
	c.Flags().StringVar(&f.scope, "scope", "", "only entries with this `scope`: *, or a sender domain")
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	return c
}

// newCheck is the command check.
func (f *flags) newCheck() *cobra.Command {
	c := &cobra.Command{
		Use: "check ADDRESS", Short: "Say whether an address is suppressed, and why",
		Args: cobra.ExactArgs(1),
		Long: `Says whether an address is suppressed, why, for how long, and how to remove it from the list.
The exit status is 1 if it is suppressed, and 0 if not.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.check(c.Context(), args[0], c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.sender, "sender", "", "only for mail from this `address` or domain")
	c.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	return c
}

// newAdd is the command add.
func (f *flags) newAdd() *cobra.Command {
	c := &cobra.Command{
		Use: "add ADDRESS...", Short: "Suppress addresses", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.add(c.Context(), args, c.OutOrStdout())
		},
	}
	f.entryFlags(c)
	c.Flags().StringVar(&f.note, "note", "", "why, in a few `words`; shown to senders")
	return c
}

// entryFlags adds the flags of new entries.
func (f *flags) entryFlags(c *cobra.Command) {
	c.Flags().StringVar(&f.forTime, "for", "", "suppress for this `duration`: 30d; default: for good")
	c.Flags().StringVar(&f.scope, "scope", "", "only for mail from this sender `domain`")
	c.Flags().StringVar(&f.reason, "reason", "", "`reason` of the entries: spam_complaint, manual, ...")
}

// newRemove is the command remove.
func (f *flags) newRemove() *cobra.Command {
	c := &cobra.Command{
		Use: "remove ADDRESS...", Short: "Remove addresses from the list", Args: cobra.MinimumNArgs(1),
		Long: `Removes addresses from the list. Mail to them is tried again at once.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.remove(c.Context(), args, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.scope, "scope", "", "only the entry with this `scope`")
	return c
}

// newImport is the command import.
func (f *flags) newImport() *cobra.Command {
	c := &cobra.Command{
		Use: "import FILE", Short: "Add the entries of another system's list", Args: cobra.ExactArgs(1),
		Long: `Reads the CSV exports of Amazon SES, SendGrid, Mailgun and Postmark, a list with one address
per line, or the output of export; - is standard input. Invalid lines are reported by number, and the exit
status is then 1. If the file quotes servers' replies, entries whose reply is not about the address (a full
mailbox, a blocked sender) are reported and not added, unless --all is given.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.imports(c.Context(), args[0], c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.entryFlags(c)
	c.Flags().Lookup("for").Usage =
		"for this `duration`, unless the file has one; default: the last of suppression.ttl"
	c.Flags().BoolVar(&f.all, "all", false, "also add entries whose reply is not about the address")
	return c
}

// newExport is the command export.
func (f *flags) newExport() *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write the list as CSV, with Mailgun's columns and some more",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.export(c.Context(), c.OutOrStdout()) },
	}
}

// open finds the list. done is called when it is not needed any more.
func (f *flags) open(ctx context.Context) (l list, cfg *config.Config, done func() error, err error) {
	if cfg, err = f.o.Load(); err != nil {
		return nil, nil, nil, err
	}
	client := admin.NewClient(cfg.Admin.Socket)
	if _, err = client.SuppressionState(ctx); !errors.Is(err, admin.ErrNotRunning) {
		return client, cfg, func() error { return nil }, err
	}
	file, err := suppress.Open(options.Suppress(func() *config.Config { return cfg },
		slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, nil, err
	}
	if err := file.State().Fault; err != nil {
		file.Close()
		return nil, nil, nil, err
	}
	return offline{file}, cfg, file.Close, nil
}

// offline is a list that no relay has open.
type offline struct{ file *suppress.List }

// Suppressed implements list.
func (o offline) Suppressed(ctx context.Context, f relay.SuppressionFilter,
	each func(relay.Suppression) error) (err error) {
	return errors.Join(o.file.List(ctx, f, func(s *relay.Suppression) bool {
		err = each(*s)
		return err == nil
	}), err)
}

// Suppress implements list.
func (o offline) Suppress(ctx context.Context,
	entries []relay.Suppression) ([]relay.SuppressionResult, error) {
	return o.file.Put(ctx, entries)
}

// Unsuppress implements list.
func (o offline) Unsuppress(ctx context.Context, address, scope string) (int, error) {
	return o.file.Remove(ctx, address, scope)
}

// SuppressionState implements list.
func (o offline) SuppressionState(context.Context) (admin.SuppressionState, error) {
	return admin.StateOf(o.file), nil
}

// with runs do with the list.
func (f *flags) with(ctx context.Context, do func(list, *config.Config) error) error {
	l, cfg, done, err := f.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(l, cfg), done())
}

// say prints a line.
func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format+"\n", args...)
	return err
}
