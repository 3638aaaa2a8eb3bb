package webhook

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record/webhook/eventlog"
)

// The bounds of what is claimed at a time.
const (
	claimMost = 256 // messages
	claimFor  = time.Minute
)

// claimed is what one outbox owes.
type claimed struct {
	outbox  relay.Outbox
	entries []relay.Entry
	tokens  []relay.Token
}

// write brings what came into the log, and returns how long until there is more to do. What is owed is
// consumed only when it is on the disk.
func (w *Webhooks) write(ctx context.Context, outboxes []relay.Outbox) time.Duration {
	for {
		// What was recorded up to here follows nothing that comes to the outboxes later.
		events := w.take()
		owed, more, wait, err := w.claim(ctx, outboxes)
		if err == nil {
			for i := range owed {
				events = append(events, w.decode(owed[i].entries)...)
			}
			err = w.append(events, len(owed) > 0)
		}
		if err == nil {
			err = consume(ctx, owed)
		} else {
			w.putBack(events, owed)
		}
		giveBack(owed)
		if err != nil {
			w.owed.Store(true)
			w.complain(ctx, err)
			return afterError
		}
		if !more {
			return wait
		}
	}
}

// take takes what is buffered.
func (w *Webhooks) take() []eventlog.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.buffer
	w.buffer, w.buffered = nil, 0
	return events
}

// putBack buffers again what could not be written. What is owed stays in its outbox.
func (w *Webhooks) putBack(events []eventlog.Event, owed []claimed) {
	for i := range owed {
		for _, e := range owed[i].entries {
			events = slices.DeleteFunc(events, func(ev eventlog.Event) bool { return ev.ID == e.Key })
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buffer = append(events, w.buffer...)
	for i := range events {
		w.buffered += len(events[i].Data)
	}
}

// claim claims what the outboxes owe.
func (w *Webhooks) claim(ctx context.Context, outboxes []relay.Outbox) (all []claimed, more bool,
	wait time.Duration, err error) {
	wait = tidyEvery
	if !w.owed.Swap(false) {
		return nil, false, w.untilSync(wait), nil
	}
	now := w.o.Now()
	for _, o := range outboxes {
		claims, next, err := o.Claim(ctx,
			relay.ClaimQuery{Topic: relay.TopicWebhook, Now: now, Max: claimMost, For: claimFor})
		if err != nil {
			giveBack(all)
			return nil, false, 0, err
		}
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(now), time.Millisecond))
			w.owed.Store(true) // looked at again after wait
		}
		if len(claims) == 0 {
			continue
		}
		c := claimed{outbox: o}
		for i := range claims {
			c.tokens = append(c.tokens, claims[i].Token)
			c.entries = append(c.entries, claims[i].Entries...)
		}
		all = append(all, c)
		more = more || !next.IsZero() && !next.After(now)
	}
	return all, more, w.untilSync(wait), nil
}

// untilSync shortens a wait while something is written and not synced.
func (w *Webhooks) untilSync(wait time.Duration) time.Duration {
	if w.unsynced {
		wait = min(wait, syncEvery)
	}
	return wait
}

// decode are the events of entries.
func (w *Webhooks) decode(entries []relay.Entry) (events []eventlog.Event) {
	for _, e := range entries {
		ev, err := eventlog.Decode(e.Payload)
		if err != nil {
			w.o.Log.Error("an event that is owed to webhooks is damaged and is not sent", "id", e.Message,
				"err", err)
			continue
		}
		events = append(events, ev)
	}
	return events
}

// append appends events to the log, in the order in which they happened, and wakes the senders.
func (w *Webhooks) append(events []eventlog.Event, sync bool) error {
	if len(events) == 0 || len(*w.set) == 0 {
		return w.sync()
	}
	slices.SortStableFunc(events, func(a, b eventlog.Event) int { return a.Time.Compare(b.Time) })
	if err := w.log.Load().Append(events, sync); err != nil {
		return err
	}
	if w.unsynced = !sync; sync {
		w.synced = w.o.Now()
	}
	for _, s := range w.senders.list() {
		e, n := s.endpoint.Load(), int64(0)
		for i := range events {
			if e.wants(&events[i]) {
				n++
			}
		}
		if n > 0 {
			s.backlog.Add(n)
			s.wakeUp()
		}
	}
	return w.sync()
}

// sync brings the log onto the disk, at most once in syncEvery.
func (w *Webhooks) sync() error {
	now := w.o.Now()
	if since := now.Sub(w.synced); !w.unsynced || since >= 0 && since < syncEvery {
		return nil
	}
	w.synced, w.unsynced = now, false
	return w.log.Load().Sync()
}

// consume removes the entries that are in the log. One whose claim has ended is sent again, under its id.
func consume(ctx context.Context, owed []claimed) error {
	var errs []error
	for i := range owed {
		err := owed[i].outbox.Consume(ctx, relay.Answer{Entries: owed[i].entries})
		if !errors.Is(err, relay.ErrStaleLease) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func giveBack(owed []claimed) {
	for i := range owed {
		owed[i].outbox.GiveBack(owed[i].tokens...)
	}
}

// complain tells the operator that events cannot be written, at most once a minute.
func (w *Webhooks) complain(ctx context.Context, err error) {
	now := w.o.Now()
	if since := now.Sub(w.complained); ctx.Err() != nil || since >= 0 && since < time.Minute {
		return
	}
	w.complained = now
	w.o.Log.Error("events for webhooks cannot be written; they wait, and mail goes on", "dir", w.o.Dir,
		"err", err)
}

// tidy removes what is older or more than is kept.
func (w *Webhooks) tidy(ctx context.Context) {
	if w.log.Load() == nil {
		return
	}
	for _, s := range w.senders.list() {
		if n := s.endpoint.Load().dropped.Swap(0); n > 0 {
			s.call(ctx, func() { s.lose(int(n), "there were more at a time than could be written") })
		}
	}
	lim, now := w.o.Limits(), w.o.Now()
	if since := now.Sub(w.rotated); since < 0 || since > lim.Keep/16 {
		w.rotated = now
		if err := w.log.Load().Rotate(); err != nil {
			w.complain(ctx, err)
		}
	}
	for {
		from, to, last, bytes, ok := w.log.Load().Oldest()
		if !ok || bytes <= lim.MaxBytes && now.Sub(last) <= lim.Keep {
			return
		}
		if err := w.trim(ctx, from, to); err != nil {
			w.complain(ctx, err)
			return
		}
	}
}

// trim removes the oldest segment, and lets the senders know what was in it.
func (w *Webhooks) trim(ctx context.Context, from, to eventlog.Pos) error {
	var heads []head
	err := each(w.log.Load(), from, to, func(ev *eventlog.Stored) {
		h := head{at: ev.At, event: ev.Event}
		h.event.Data = nil
		heads = append(heads, h)
	})
	if err != nil {
		return err
	}
	for _, s := range w.senders.list() {
		if err := s.call(ctx, func() { s.trimmed(to, heads) }); err != nil {
			return err
		}
	}
	return w.log.Load().RemoveOldest()
}

// forget removes what was known of a webhook that is no longer configured, and tells of events that are not
// sent to it any more.
func (w *Webhooks) forget(name string, backlog int) {
	if err := os.Remove(stateFile(w.o.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.o.Log.Warn("cannot remove a file", "err", err)
	}
	w.o.Log.Warn("the webhook is no longer configured", "webhook", name, "events_not_sent", backlog)
	if backlog > 0 {
		w.senders.counted(name).lost.Add(uint64(backlog))
		w.o.Tell(relay.WebhookEvent(name, "lost",
			"the webhook was removed with events that were still to be sent", w.o.Now()))
	}
}
