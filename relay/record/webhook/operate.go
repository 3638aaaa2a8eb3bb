package webhook

import (
	"context"
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record/webhook/eventlog"
)

// States are how the webhooks stand, by name.
func (w *Webhooks) States() (all []relay.WebhookState) {
	for _, s := range w.senders.list() {
		all = append(all, s.state())
	}
	slices.SortFunc(all, func(a, b relay.WebhookState) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Counted are the States, and what was counted of the webhooks that were removed, which have no State.
func (w *Webhooks) Counted() []relay.WebhookState {
	all := w.States()
	w.senders.mu.Lock()
	defer w.senders.mu.Unlock()
	for name, c := range w.senders.counts {
		if w.senders.all[name] == nil {
			gone := relay.WebhookState{Name: name}
			c.fill(&gone)
			all = append(all, gone)
		}
	}
	return all
}

// sender is the sender of a webhook, or relay.ErrNotFound.
func (w *Webhooks) sender(name string) (*sender, error) {
	if s := w.senders.get(name); s != nil {
		return s, nil
	}
	return nil, relay.UnknownWebhookError(name)
}

// Test sends a test event to a webhook, at once and even if it is disabled, and waits for the answer.
func (w *Webhooks) Test(ctx context.Context, name string) (relay.WebhookTest, error) {
	s, err := w.sender(name)
	if err != nil {
		return relay.WebhookTest{}, err
	}
	e := s.endpoint.Load()
	note := relay.WebhookEvent(name, "test", "a test; nothing has happened", w.o.Now())
	ev := encode(&note, w.newID(), nil)
	id, body := ev.ID, bodyOf(&ev)
	if e.s.Batch > 1 {
		id, body = batchOf([]*eventlog.Event{&ev})
	}
	a := e.post(ctx, id, body)
	t := relay.WebhookTest{OK: a.result == resultOK, ID: id, Status: a.status, Why: a.why, Took: a.took}
	return t, nil
}

// Replay sends the events again that happened since a time and are still kept, and all that came later, and
// returns how many those are that were sent before. They have the ids that they had.
func (w *Webhooks) Replay(ctx context.Context, name string, since time.Time) (n int64, err error) {
	s, err := w.sender(name)
	if err != nil {
		return 0, err
	}
	from := s.source.Since(since)
	found := false
	err = each(s.source, from, s.source.End(), func(ev *eventlog.Stored) {
		if !found && !ev.Time.Before(since) {
			from, found = ev.At, true
		}
	})
	if err != nil || !found {
		return 0, err
	}
	err = s.call(ctx, func() { n = s.replay(from) })
	return n, err
}

// Enable lets a webhook that is disabled, or that waits after failures, go on now.
func (w *Webhooks) Enable(ctx context.Context, name string) error {
	s, err := w.sender(name)
	if err != nil {
		return err
	}
	return s.call(ctx, s.enable)
}

// enable lets everything go on.
func (s *sender) enable() {
	was := !s.stand.Disabled.IsZero()
	s.stand = standing{}
	s.win.hurry()
	s.dirty = true
	if was {
		s.log.Info("the webhook is enabled")
		s.w.o.Tell(relay.WebhookEvent(s.endpoint.Load().s.Name, "enabled", "", s.w.o.Now()))
	}
	s.tellLost(s.w.o.Now())
}

// replay goes back to a place, once the requests under way are over, and returns how many events that brings
// back.
func (s *sender) replay(from eventlog.Pos) int64 {
	if from >= s.cursor {
		return 0
	}
	n, err := s.count(from, s.cursor)
	if err != nil {
		s.log.Error("events cannot be read", "err", err)
		return 0
	}
	for _, it := range s.win.items {
		if it.At >= from && it.tells == 0 {
			n-- // it was still to be sent
		}
	}
	if s.rewind == nil || from < *s.rewind {
		s.rewind = &from
	}
	return max(n, 0)
}

// goBack makes the events from a place on ones that are still to be sent. Nothing is under way.
func (s *sender) goBack() {
	from := *s.rewind
	s.rewind, s.dirty = nil, true
	if from >= s.cursor {
		return
	}
	n, err := s.count(from, s.cursor)
	if err != nil {
		s.log.Error("events cannot be read", "err", err)
		return
	}
	before := len(s.win.items)
	s.win.items = slices.DeleteFunc(s.win.items,
		func(it *item) bool { return it.At >= from && it.tells == 0 })
	s.backlog.Add(n - int64(before-len(s.win.items)))
	s.cursor = from
}

// change puts another configuration of the webhook in force.
func (s *sender) change(e *Endpoint) {
	was := s.endpoint.Swap(e)
	was.client.CloseIdleConnections()
	if was.s.URL != e.s.URL {
		s.stand = standing{}
		s.win.hurry()
	}
	s.win.items = slices.DeleteFunc(s.win.items,
		func(it *item) bool { return !it.flying && it.tells == 0 && !e.wants(&it.Event) })
	for _, it := range s.win.items {
		if !it.flying {
			it.group = nil // the size of a batch may be another
		}
	}
	n, err := s.count(s.cursor, s.source.End())
	if err != nil {
		s.log.Error("events cannot be read", "err", err)
	}
	s.backlog.Store(n + int64(len(s.win.items)))
	s.dirty = true
}
