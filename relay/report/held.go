package report

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"mailwhy/relay"
)

// HeldReportsOptions are what a HeldReports is made of. All are required.
type HeldReportsOptions struct {
	Spool interface {
		relay.Lister
		relay.Editor
		Content(ctx context.Context, id string) (io.ReadCloser, error)
	}
	HoldFor func() time.Duration // from when a report was held until it is given up; 0 is for ever
	Record  relay.Recorder
	Log     *slog.Logger
	Now     func() time.Time // wall clock
}

// HeldReports gives up reports of our own that nobody could be brought to take: a bounce that is refused is never
// bounced but held, and without an end it would lie in the queue for ever. What the operator holds is left alone. Each one given
// up is an ERROR in the operational log and an expired event, which name whom nobody has heard about.
type HeldReports struct{ o HeldReportsOptions }

// NewHeldReports makes a HeldReports. It does nothing until Run.
func NewHeldReports(o HeldReportsOptions) *HeldReports { return &HeldReports{o} }

// The pace of the search.
const (
	heldEvery = time.Hour
	heldBatch = 100
)

// Run looks at once and then every hour, until ctx ends.
func (h *HeldReports) Run(ctx context.Context) {
	tick := time.NewTicker(heldEvery)
	defer tick.Stop()
	for {
		if err := h.sweep(ctx); err != nil && ctx.Err() == nil {
			h.o.Log.Error("cannot look for reports that were held too long", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep gives up what was held too long, page by page.
func (h *HeldReports) sweep(ctx context.Context) error {
	limit := h.o.HoldFor()
	if limit <= 0 {
		return nil
	}
	before := h.o.Now().Add(-limit)
	for after := ""; ; {
		var over []string
		n := 0
		err := h.o.Spool.List(ctx, relay.QueueFilter{State: relay.Held, After: after, Limit: heldBatch}, func(m *relay.Message) bool {
			after = m.ID
			n++
			if len(overdue(m, before)) > 0 {
				over = append(over, m.ID)
			}
			return true
		})
		if err != nil {
			return err
		}
		for _, id := range over {
			if err := h.giveUp(ctx, id, before); err != nil {
				return err
			}
		}
		if n < heldBatch {
			return nil
		}
	}
}

// overdue are the recipients of a report that the relay has held since before.
func overdue(m *relay.Message, before time.Time) (indexes []int) {
	if !m.Report {
		return nil
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.State == relay.Held && strings.HasPrefix(r.HeldWhy, relay.HeldReport) && heldSince(m, r).Before(before) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// heldSince is when a recipient was held: at its last attempt.
func heldSince(m *relay.Message, r *relay.Recipient) time.Time {
	if r.Last != nil {
		return r.Last.Time
	}
	return m.Arrived
}

// giveUp ends the recipients of a report that are overdue. One that was released or dropped meanwhile is left alone.
func (h *HeldReports) giveUp(ctx context.Context, id string, before time.Time) error {
	lost := h.lost(ctx, id)
	var given []relay.Event
	err := h.o.Spool.Edit(ctx, id, func(m *relay.Message) (relay.Settlement, bool, error) {
		given, lost.subject = nil, m.Subject
		s := relay.Settlement{Recipients: append([]relay.Recipient(nil), m.Recipients...)}
		for _, i := range overdue(m, before) {
			r := &s.Recipients[i]
			given = append(given, h.event(m, r, lost))
			r.State, r.HeldFrom, r.HeldWhy = relay.Expired, "", ""
		}
		return s, false, nil
	})
	if errors.Is(err, relay.ErrNotFound) {
		return nil // dropped meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range given {
		h.o.Log.Error("a bounce is given up: nobody could be brought to take it", "id", e.ID, "to", e.To, "subject", lost.subject,
			"about", lost.about, "recipients", lost.list(), "reply", replyOf(e.Tried))
		h.o.Record.Record(e)
	}
	return nil
}

// event tells that a report was given up.
func (h *HeldReports) event(m *relay.Message, r *relay.Recipient, lost *undelivered) relay.Event {
	note := "held since " + heldSince(m, r).UTC().Format(time.RFC3339) + ", and given up; nobody was told of " + lost.list()
	return relay.ReportGivenUpEvent(m, r, lost.about, note, h.o.Now())
}

func replyOf(a *relay.Attempt) string {
	if a == nil {
		return ""
	}
	return strings.TrimSpace(a.Reply.Raw)
}

// undelivered is what a report would have told.
type undelivered struct {
	subject    string
	about      string // queue id of the message that it is about
	recipients []string
	n          int
}

// maxLost is how many recipients of a report are named.
const maxLost = 10

// list names the recipients.
func (u *undelivered) list() string {
	s := strings.Join(u.recipients, ", ")
	if more := u.n - len(u.recipients); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	if s == "" {
		return u.subject
	}
	return s
}

// lost reads from a report of our own what it tells: the fields of its message/delivery-status (RFC 3464, 2).
func (h *HeldReports) lost(ctx context.Context, id string) *undelivered {
	u := &undelivered{}
	content, err := h.o.Spool.Content(ctx, id)
	if err != nil {
		return u
	}
	defer content.Close()
	lines := bufio.NewScanner(io.LimitReader(content, 1<<20))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "X-Mailwhy-Queue-ID":
			u.about = strings.TrimSpace(value)
		case "Final-Recipient":
			if u.n++; len(u.recipients) < maxLost {
				_, address, _ := strings.Cut(value, ";")
				u.recipients = append(u.recipients, strings.TrimSpace(address))
			}
		}
	}
	return u
}
