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

// HeldReportsOptions configure a HeldReports. All are required.
type HeldReportsOptions struct {
	Spool interface {
		relay.Lister
		relay.Editor
		Content(ctx context.Context, id string) (io.ReadCloser, error)
	}
	HoldFor func() time.Duration // how long a report is held until it is given up; 0 means forever
	Record  relay.Recorder
	Log     *slog.Logger
	Now     func() time.Time // wall clock
}

// HeldReports gives up reports of our own that no server accepts: a bounce that is refused is not bounced but
// held, and would otherwise stay in the queue forever. What the operator holds is left alone. Each report
// given up is an ERROR in the operational log and an expired event; both name the recipients that it was
// about.
type HeldReports struct{ o HeldReportsOptions }

// NewHeldReports makes a HeldReports. It does nothing until Run.
func NewHeldReports(o HeldReportsOptions) *HeldReports { return &HeldReports{o} }

// How often, and how many at a time.
const (
	heldEvery = time.Hour
	heldBatch = 100
)

// Run looks for overdue reports at once and then every hour, until ctx ends.
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

// sweep gives up the reports that were held too long, page by page.
func (h *HeldReports) sweep(ctx context.Context) error {
	limit := h.o.HoldFor()
	if limit <= 0 {
		return nil
	}
	before := h.o.Now().Add(-limit)
	for after := ""; ; {
		var over []string
		n := 0
		held := relay.QueueFilter{State: relay.Held, After: after, Limit: heldBatch}
		err := h.o.Spool.List(ctx, held, func(m *relay.Message) bool {
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

// overdue are the indexes of a report's recipients that the relay itself has held since before the given
// time.
func overdue(m *relay.Message, before time.Time) (indexes []int) {
	if !m.Report {
		return nil
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.State == relay.Held && strings.HasPrefix(r.HeldWhy, relay.HeldReport) &&
			heldSince(m, r).Before(before) {
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

// giveUp expires the overdue recipients of a report. A report that was released or dropped meanwhile is left
// alone.
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
		h.o.Log.Error("a bounce is given up: no server accepts it", "id", e.ID, "to", e.To,
			"subject", lost.subject, "about", lost.about, "recipients", lost.list(),
			"reply", replyOf(e.Tried))
		h.o.Record.Record(e)
	}
	return nil
}

// event says that a report was given up.
func (h *HeldReports) event(m *relay.Message, r *relay.Recipient, lost *undelivered) relay.Event {
	since := heldSince(m, r).UTC().Format(time.RFC3339)
	note := "held since " + since + ", and given up; the sender has had no report about " + lost.list()
	return relay.ReportGivenUpEvent(m, r, lost.about, note, h.o.Now())
}

func replyOf(a *relay.Attempt) string {
	if a == nil {
		return ""
	}
	return strings.TrimSpace(a.Reply.Raw)
}

// undelivered is what a report was about.
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

// lost reads what a report of our own is about from its message/delivery-status part (RFC 3464, 2).
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
