package webhook

import (
	"fmt"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record/webhook/eventlog"
)

// tellEvery is how often the operator is told of lost events at most.
const tellEvery = time.Hour

// head is an event of a part of the log that goes.
type head struct {
	at    eventlog.Pos
	event eventlog.Event // without data
}

// trimmed takes in that the log lost what is before a place: heads are its events.
func (s *sender) trimmed(before eventlog.Pos, heads []head) {
	e := s.endpoint.Load()
	n := s.win.cut(before)
	for i := range heads {
		if heads[i].at >= s.cursor && e.wants(&heads[i].event) {
			n++
		}
	}
	s.cursor = max(s.cursor, before)
	s.backlog.Add(-int64(n))
	s.lose(n, "they are older, or more, than what is kept ([webhook_store])")
}

// lose counts events that are not sent any more, and tells the operator.
func (s *sender) lose(n int, why string) {
	if n == 0 {
		return
	}
	s.counts.lost.Add(uint64(n))
	s.untold += int64(n)
	s.dirty = true
	now := s.w.o.Now()
	if since := now.Sub(s.told); since >= 0 && since < tellEvery {
		return
	}
	s.told = now
	name := s.endpoint.Load().s.Name
	s.log.Error("events for a webhook are lost", "events", s.untold, "why", why, "fix",
		"the delivery log has them")
	s.w.o.Tell(relay.WebhookEvent(name, "lost",
		fmt.Sprintf("events that are not sent: %d; %s", s.untold, why), now))
}

// tellLost tells the webhook itself, once it takes events again, how many it has not had.
func (s *sender) tellLost(now time.Time) {
	n := s.untold
	for _, it := range s.win.items {
		n -= it.tells
	}
	if n <= 0 {
		return
	}
	name := s.endpoint.Load().s.Name
	e := relay.WebhookEvent(name, "lost", fmt.Sprintf("events that were not sent to this webhook: %d; the "+
		"delivery log has them", n), now)
	s.win.items = append(s.win.items, &item{tells: n,
		Stored: eventlog.Stored{Event: encode(&e, s.w.newID(), nil), At: s.cursor, Next: s.cursor}})
	s.backlog.Add(1)
}
