// Package movecmd has the commands queue export and queue import, which move mail from one spool to another
// while no relay runs on them. What they write and read is in relay/spool/transfer.
package movecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/stoppedspool"
	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	spool "mailwhy/relay/spool/sqlite"
	"mailwhy/relay/spool/transfer"
)

// Options are what the commands need of the command queue.
type Options struct {
	Usage   func(error) error // makes an error of usage
	Load    func() (*config.Config, error)
	Filters func(*cobra.Command) // adds the flags that select messages
	Filter  func(ids []string) (relay.QueueFilter, error)
}

// exporting is the command queue export.
type exporting struct {
	Options
	batch, undo string
	done, all   bool
}

// NewExport makes the command below queue.
func NewExport(o Options) *cobra.Command {
	e := &exporting{Options: o}
	c := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Move what waits to another spool",
		Long: `Writes messages with their state, history, contents and owed reports to standard output, for
mailwhy queue import on another spool. They stay in this spool, held, until the receipt that import
prints comes back to --done. No relay may run on the spool.

  mailwhy queue export --all > mail.tar          # here
  mailwhy queue import < mail.tar > receipt      # there
  mailwhy queue export --done < receipt          # here

Each step can be killed and done again: nothing is lost, and nothing is imported twice. After a step
that failed, the same command with --batch and the printed batch writes the messages again, and --undo
lets them go on here. Mail that the operator holds is not exported.`,
		RunE: func(c *cobra.Command, ids []string) error {
			return e.run(c.Context(), ids, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	o.Filters(c)
	c.Flags().BoolVar(&e.all, "all", false, "all messages in the queue")
	c.Flags().StringVar(&e.batch, "batch", "", "export under this `batch`, also what was exported in it")
	c.Flags().BoolVar(&e.done, "done", false, "remove what the receipt on standard input names")
	c.Flags().StringVar(&e.undo, "undo", "", "let the messages of this `batch` go on here")
	c.MarkFlagsMutuallyExclusive("batch", "done", "undo")
	return c
}

// run exports, or ends an export.
func (e *exporting) run(ctx context.Context, ids []string, stdin io.Reader, stdout, stderr io.Writer) error {
	f, err := e.Filter(ids)
	if err != nil {
		return e.Usage(err)
	}
	cfg, err := e.Load()
	if err != nil {
		return err
	}
	if !e.done && e.undo == "" && !e.all && !admin.Selects(f) {
		return e.Usage(errors.New("nothing selects the messages; give ids, a filter, or --all"))
	}
	return stoppedspool.Use(cfg, stderr, func(s *spool.Spool) error {
		switch {
		case e.done:
			n, err := transfer.Done(ctx, s, stdin)
			fmt.Fprintf(stdout, "%s removed\n", messages(n))
			return err
		case e.undo != "":
			n, err := transfer.Undo(ctx, s, e.undo)
			fmt.Fprintf(stdout, "go on here of batch %[2]s: %[1]s\n", messages(n), e.undo)
			if err == nil && n == 0 { // no error: each step can be done again
				fmt.Fprintf(stderr, "nothing is held of batch %s: it has ended, or is another spool's\n",
					e.undo)
			}
			return err
		}
		return e.write(ctx, s, f, stdout, stderr)
	})
}

// write writes the messages, and says on stderr how it goes on.
func (e *exporting) write(ctx context.Context, s *spool.Spool, f relay.QueueFilter, stdout,
	stderr io.Writer) error {
	now := time.Now()
	batch := e.batch
	if batch == "" {
		batch = relay.NewID(now)
	}
	if !relay.ValidID(batch) {
		return e.Usage(fmt.Errorf("--batch %q is not one that queue export printed", batch))
	}
	fmt.Fprintf(stderr, "batch %s\n", batch)
	n, damaged, err := transfer.Export(ctx, s, f, batch, now, stdout)
	if err != nil {
		return fmt.Errorf("%w; the same with --batch %s writes all of it again, --undo %s lets it go on here",
			err, batch, batch)
	}
	fmt.Fprintf(stderr, "%s exported and held here until queue export --done gets the receipt\n", messages(n))
	if len(damaged) > 0 {
		return fmt.Errorf("%s not exported, and as before here: %w", messages(len(damaged)),
			errors.Join(damaged...))
	}
	return nil
}

// NewImport makes the command below queue.
func NewImport(o Options) *cobra.Command {
	return &cobra.Command{
		Use:   "import",
		Short: "Take in what queue export wrote",
		Long: `Reads messages from standard input, stores them with their state, and prints a receipt, a line
for each that is durable: give it to mailwhy queue export --done on the other spool. No relay may run on
the spool. Messages that are here, or came before, are not stored again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.Load()
			if err != nil {
				return err
			}
			return stoppedspool.Use(cfg, c.ErrOrStderr(), func(s *spool.Spool) error {
				out := json.NewEncoder(c.OutOrStdout())
				n, err := transfer.Import(c.Context(), s, c.InOrStdin(),
					func(r transfer.Receipt) error { return out.Encode(r) })
				fmt.Fprintf(c.ErrOrStderr(), "%s imported\n", messages(n))
				return err
			})
		},
	}
}

// messages is a number of them.
func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}
