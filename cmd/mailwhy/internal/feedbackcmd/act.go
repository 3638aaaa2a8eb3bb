package feedbackcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// newReplay is the command replay.
func (f *flags) newReplay() *cobra.Command {
	var webhook string
	c := &cobra.Command{
		Use:   "replay [ID | FILE]",
		Short: "Process reports again now",
		Long: `Lets the relay process a report again that is waiting or could not be matched, by its number;
all that --since and --state select; or, with --webhook, a provider's payload from FILE, such as one from a
dead-letter queue. A report that was already processed changes nothing.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.replay(c.Context(), args, webhook, c.OutOrStdout())
		},
	}
	f.filters(c)
	c.Flags().StringVar(&webhook, "webhook", "", "`name` of the webhook that the file was meant for")
	return c
}

// replay lets reports be looked at again, or takes a file.
func (f *flags) replay(ctx context.Context, args []string, webhook string, w io.Writer) error {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	if webhook != "" {
		if len(args) == 0 {
			return f.o.Usage(errors.New("--webhook wants a file"))
		}
		body, err := os.ReadFile(args[0])
		if err == nil {
			err = client.Take(ctx, webhook, body)
		}
		if err == nil {
			_, err = fmt.Fprintln(w, "taken: 1 report")
		}
		return err
	}
	switch {
	case len(args) == 0 && f.since == "" && f.state == "" && f.source == "":
		return f.o.Usage(errors.New("nothing selects the reports; give an ID, --since, --state or --source"))
	case len(args) == 1:
		if filter.ID, err = strconv.ParseInt(args[0], 10, 64); err != nil || filter.ID < 1 {
			return f.o.Usage(fmt.Errorf("not the number of a report: %q; a file wants --webhook", args[0]))
		}
		if _, err := client.Report(ctx, filter.ID); err != nil {
			return err
		}
	}
	n, err := client.Replay(ctx, filter)
	if err != nil {
		return err
	}
	noun := "reports"
	if n == 1 {
		noun = "report"
	}
	_, err = fmt.Fprintf(w, "to be looked at now: %d %s\n", n, noun)
	return err
}

// newTest is the command test.
func (f *flags) newTest() *cobra.Command {
	c := &cobra.Command{
		Use:   "test WEBHOOK --from ADDRESS --to ADDRESS",
		Short: "Send a message that bounces, and wait for the event",
		Long: `Sends a message through the relay to an address that does not exist, or to the provider's
bounce simulator, and waits until the provider reports it to the webhook. It tests the whole path, with
the real account.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.test(c.Context(), args[0], c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.from, "from", "", "envelope sender that the provider accepts")
	c.Flags().StringVar(&f.to, "to", "", "recipient that bounces")
	c.Flags().DurationVar(&f.wait, "wait", 5*time.Minute, "how long to wait for the event")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// lookEvery is how often a test looks for its event.
const lookEvery = 250 * time.Millisecond

// test sends a message and waits for what comes back.
func (f *flags) test(ctx context.Context, webhook string, w io.Writer) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	id, err := client.Send(ctx, webhook, f.from, f.to)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "queued as %s\n", id)
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	relayed := false
	for {
		list, err := client.Remembered(ctx, id)
		if err != nil && !errors.Is(err, relay.ErrNotFound) {
			return f.missed(ctx, err, relayed, webhook)
		}
		for _, s := range list {
			if !relayed {
				relayed = true
				fmt.Fprintln(w, "relayed; waiting for the event")
			}
			for i := range s.Told {
				if done := tellTold(w, &s.Told[i]); done {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return f.missed(ctx, ctx.Err(), relayed, webhook)
		case <-time.After(lookEvery):
		}
	}
}

// missed says what did not happen in time.
func (f *flags) missed(ctx context.Context, err error, relayed bool, webhook string) error {
	switch {
	case ctx.Err() == nil:
		return err
	case !relayed:
		return fmt.Errorf("the message was not relayed within %v: mailwhy queue list says why", f.wait)
	}
	return fmt.Errorf("no event came within %v: see whether %s sends to this relay's URL (mailwhy check), "+
		"and mailwhy feedback list", f.wait, webhook)
}

// tellTold prints what came back, and reports whether nothing more is to come.
func tellTold(w io.Writer, t *admin.Told) bool {
	if t.Kind == relay.EventRetrying {
		return false
	}
	printTold(w, t)
	return true
}
