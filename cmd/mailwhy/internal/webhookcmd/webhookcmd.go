// Package webhookcmd is `mailwhy webhook`: how the webhooks stand to which the relay sends events, and what
// an operator does about them. It prints; the relay that runs does the work.
package webhookcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/config/value"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// flags are the flags of the command.
type flags struct {
	o     relaycmd.Options
	json  bool
	since string
}

// New is the command.
func New(o relaycmd.Options) *cobra.Command {
	f := &flags{o: o}
	c := &cobra.Command{
		Use:   "webhook",
		Short: "Show and test the webhooks that get events",
		Long: `The running relay sends events to the webhooks of your applications, [[webhook]] in the
configuration. These commands show their state, send a test event, send events again, and enable a webhook
that was disabled because it failed for too long or answered 410.

  mailwhy webhook list
  mailwhy webhook test shop
  mailwhy webhook replay shop --since 2h
  mailwhy webhook enable shop`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	o.Flags(c)
	list := &cobra.Command{
		Use: "list", Short: "List the webhooks, their state and their waiting events", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.list(c.Context(), c.OutOrStdout()) },
	}
	list.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	test := &cobra.Command{
		Use: "test NAME", Short: "Send a test event and show the response", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.test(c.Context(), args[0], c.OutOrStdout())
		},
	}
	replay := &cobra.Command{
		Use: "replay NAME --since TIME", Short: "Send events again", Args: cobra.ExactArgs(1),
		Long: `Sends again all events since TIME that are still kept (webhook_store.keep), with their original
ids, so that a receiver can recognize duplicates. TIME is a duration before now, such as 30m, 4h or 2d, or a
time such as 2026-11-29T12:00:00Z.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.replay(c.Context(), args[0], c.OutOrStdout())
		},
	}
	replay.Flags().StringVar(&f.since, "since", "", "duration before now, or a `time`")
	replay.MarkFlagRequired("since")
	enable := &cobra.Command{
		Use: "enable NAME", Short: "Enable a disabled webhook, or try a waiting one now",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.enable(c.Context(), args[0], c.OutOrStdout())
		},
	}
	c.AddCommand(list, test, replay, enable)
	return c
}

// client is a client of the relay that the flags choose.
func (f *flags) client() (*admin.Client, error) {
	cfg, err := f.o.Load()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg.Admin.Socket), nil
}

// list prints how the webhooks stand.
func (f *flags) list(ctx context.Context, w io.Writer) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	states, err := client.Webhooks(ctx)
	if err != nil {
		return err
	}
	if len(states) == 0 && !f.json {
		_, err := fmt.Fprintln(w, "no webhook is configured: see docs/webhooks.md")
		return err
	}
	b := bufio.NewWriter(w)
	for i := range states {
		if f.json {
			json.NewEncoder(b).Encode(&states[i])
		} else {
			writeState(b, &states[i])
		}
	}
	return b.Flush()
}

// writeState prints how a webhook stands.
func writeState(w io.Writer, s *relay.WebhookState) {
	fmt.Fprintf(w, "%s  %s\n  %s", s.Name, printable(s.URL), s.State)
	if s.State != relay.WebhookOK {
		fmt.Fprintf(w, " since %s: %s", stamp(s.Since), printable(s.Why))
	}
	if s.Next.After(time.Now()) {
		fmt.Fprintf(w, "; tried again %s", stamp(s.Next))
	}
	fmt.Fprintf(w, "\n  events: %d waiting", s.Backlog)
	if !s.Oldest.IsZero() {
		fmt.Fprintf(w, " (the oldest of %s)", stamp(s.Oldest))
	}
	fmt.Fprintf(w, ", %d sent and %d lost since the start\n", s.Events, s.Lost)
}

// test sends a test event.
func (f *flags) test(ctx context.Context, name string, w io.Writer) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	t, err := client.TestWebhook(ctx, name)
	if err != nil {
		return err
	}
	if !t.OK {
		return fmt.Errorf("%s did not take the event: %s (after %v)", name, printable(t.Why), t.Took.Round(
			time.Millisecond))
	}
	_, err = fmt.Fprintf(w, "%s took the event %s: HTTP status %d after %v\n", name, t.ID, t.Status,
		t.Took.Round(time.Millisecond))
	return err
}

// replay sends events again.
func (f *flags) replay(ctx context.Context, name string, w io.Writer) error {
	since, err := time.Parse(time.RFC3339, f.since)
	if err != nil {
		ago, bad := value.ParseDuration(f.since)
		if bad != nil {
			return f.o.Usage(fmt.Errorf("--since %q: write how long ago, as 4h or 2d, or a time as "+
				"2026-11-29T12:00:00Z", f.since))
		}
		since = time.Now().Add(-ago)
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	n, err := client.ReplayWebhook(ctx, name, since)
	if err == nil {
		_, err = fmt.Fprintf(w, "to be sent again: %d events\n", n)
	}
	return err
}

// enable lets a webhook go on.
func (f *flags) enable(ctx context.Context, name string, w io.Writer) error {
	client, err := f.client()
	if err == nil {
		err = client.EnableWebhook(ctx, name)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%s is enabled\n", name)
	}
	return err
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// printable is text that others wrote, made safe for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, s)
}
