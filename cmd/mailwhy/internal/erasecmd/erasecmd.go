// Package erasecmd is `mailwhy erase`: it removes what a relay stores about one address, in the queue, in the
// memory of feedback, in the history of the web page and on the suppression list. It asks the relay that
// runs, which alone changes its files.
//
// What always holds: without --yes nothing is changed; whether an entry of the suppression list stays is for
// the operator to say, since removing it means that mail to the address is sent again.
package erasecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/relaycmd"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// The values of --suppression.
const keep, remove = "keep", "remove"

// flags are the flags of the command.
type flags struct {
	o           relaycmd.Options
	yes         bool
	suppression string
}

// New is the command.
func New(o relaycmd.Options) *cobra.Command {
	f := &flags{o: o}
	c := &cobra.Command{
		Use:   "erase ADDRESS",
		Short: "Remove what is stored about an address",
		Long: `Counts what the running relay stores about an address: messages in the queue from it or to
it, relayed messages and reports that feedback remembers, events in the history of the web page, and its
entries on the suppression list. With --yes it removes them; messages are dropped without a bounce.

A message that waits for other recipients too is kept, and so is one of which a bounce is still to be sent.
An entry of the suppression list keeps mail from being sent to the address: say with --suppression whether it
stays. Delivery logs, mail in maildirs and events that wait for webhooks are not touched (docs/privacy.md).`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), strings.Trim(args[0], "<>"), c.OutOrStdout())
		},
	}
	o.Flags(c)
	c.Flags().BoolVar(&f.yes, "yes", false, "remove it; without this flag it is only counted")
	c.Flags().StringVar(&f.suppression, "suppression", "", "what becomes of entries: keep or remove")
	return c
}

// found is what concerns an address.
type found struct {
	whole      []string // queue ids of messages that are from it, or to nobody else
	shared     int      // messages that wait for others too
	feedback   admin.Erased
	noFeedback bool
	history    admin.ErasedEvents
	noHistory  bool
	entries    int // of the suppression list
}

// run counts, and removes.
func (f *flags) run(ctx context.Context, address string, w io.Writer) error {
	if local, domain, ok := strings.Cut(address, "@"); !ok || local == "" || domain == "" {
		return f.o.Usage(fmt.Errorf("%q is not an address; write it as user@example.com", address))
	}
	if f.suppression != "" && f.suppression != keep && f.suppression != remove {
		return f.o.Usage(fmt.Errorf("--suppression %q: write keep or remove", f.suppression))
	}
	cfg, err := f.o.Load()
	if err != nil {
		return err
	}
	client := admin.NewClient(cfg.Admin.Socket)
	n, err := look(ctx, client, address)
	if err != nil {
		return err
	}
	n.print(w, address, f.yes)
	switch {
	case !f.yes:
		_, err := fmt.Fprintln(w, "nothing was removed; --yes does it")
		return err
	case n.entries > 0 && f.suppression == "":
		return f.o.Usage(errors.New("the address is on the suppression list; say whether it stays there: " +
			"--suppression keep or --suppression remove"))
	}
	return f.erase(ctx, client, address, &n)
}

// look finds what concerns an address.
func look(ctx context.Context, client *admin.Client, address string) (n found, err error) {
	seen := map[string]bool{}
	add := func(m admin.Summary) error {
		if seen[m.ID] {
			return nil
		}
		seen[m.ID] = true
		if strings.EqualFold(m.From, address) || alone(&m, address) {
			n.whole = append(n.whole, m.ID)
		} else {
			n.shared++
		}
		return nil
	}
	for _, filter := range []relay.QueueFilter{{Sender: address}, {Recipient: address}} {
		if err := client.List(ctx, filter, add); err != nil {
			return n, err
		}
	}
	n.feedback, err = client.Erase(ctx, address, false)
	if n.noFeedback = off(err); err != nil && !n.noFeedback {
		return n, err
	}
	n.history, err = client.EraseEvents(ctx, address, false)
	if n.noHistory = off(err); err != nil && !n.noHistory {
		return n, err
	}
	err = client.Suppressed(ctx, relay.SuppressionFilter{Address: address}, func(relay.Suppression) error {
		n.entries++
		return nil
	})
	if off(err) {
		err = nil
	}
	return n, err
}

// off reports whether an error says that a part of the relay is not switched on, and so stores nothing.
func off(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "feedback is not configured") ||
		strings.Contains(err.Error(), "the history of the page is off") ||
		strings.Contains(err.Error(), "suppression is off"))
}

// alone reports whether a message has no other recipient than an address.
func alone(m *admin.Summary, address string) bool {
	for i := range m.Recipients {
		if !strings.EqualFold(m.Recipients[i].Address, address) {
			return false
		}
	}
	return true
}

// print says what was found.
func (n *found) print(w io.Writer, address string, removes bool) {
	line := func(count int64, what string) { fmt.Fprintf(w, "%6d  %s\n", count, what) }
	fmt.Fprintf(w, "about %s:\n", address)
	line(int64(len(n.whole)), "messages in the queue from it or to nobody else")
	if n.shared > 0 {
		line(int64(n.shared), "messages in the queue to others too: they stay until they are done")
	}
	if n.noFeedback {
		fmt.Fprintln(w, "     -  feedback is off: nothing is remembered of relayed mail")
	} else {
		line(n.feedback.Messages, "relayed messages that are remembered")
		line(n.feedback.Reports, "reports that wait or are kept")
	}
	if n.feedback.Owed > 0 {
		line(n.feedback.Owed, "relayed messages of which a bounce is to be sent: they stay until then")
	}
	if n.noHistory {
		fmt.Fprintln(w, "     -  the history of the page is off: it stores no events")
	} else {
		line(n.history.Events, "events in the history of the page")
	}
	if n.history.Examples > 0 {
		line(n.history.Examples, "examples of reasons there: other events take their place")
	}
	line(int64(n.entries), "entries on the suppression list")
}

// maxIDs is how many messages one request names.
const maxIDs = 500

// erase removes what was found.
func (f *flags) erase(ctx context.Context, client *admin.Client, address string, n *found) (err error) {
	for ids := range slices.Chunk(n.whole, maxIDs) {
		these := relay.QueueFilter{IDs: ids}
		err = errors.Join(err, client.Act(ctx, admin.Drop, these, false, func(o admin.Outcome) error {
			if o.Error != "" {
				return fmt.Errorf("%s: %s", o.ID, o.Error)
			}
			return nil
		}))
	}
	if !n.noFeedback {
		_, eraseErr := client.Erase(ctx, address, true)
		err = errors.Join(err, eraseErr)
	}
	if n.entries > 0 && f.suppression == remove {
		_, removeErr := client.Unsuppress(ctx, address, "")
		err = errors.Join(err, removeErr)
	}
	if !n.noHistory { // last: what was done until here is in it, too
		_, eraseErr := client.EraseEvents(ctx, address, true)
		err = errors.Join(err, eraseErr)
	}
	return err
}
