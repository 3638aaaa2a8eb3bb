package lane

import (
	"context"
	"errors"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// expireBatch is how many messages are given up at a time while a lane is paused. Between batches the lane
// does its other work.
const expireBatch = 200

// sweepEvery is how often a paused lane looks for expired mail.
const sweepEvery = 5 * time.Minute

// sweep gives up expired mail every sweepEvery: a batch at a time, until all of the lane's mail has been
// looked at.
func (l *Lane) sweep(ctx context.Context, now time.Time, p Policy) {
	o := &l.outage
	if since := now.Sub(o.swept); since >= 0 && since < sweepEvery || !l.maySweep(ctx, now) {
		return
	}
	more, err := l.expireWaiting(ctx, now, &p)
	if err != nil && ctx.Err() == nil {
		l.o.Log.Error("cannot give up expired mail", "lane", l.o.Name, "err", err)
	}
	if more && err == nil {
		l.Kick()
		return
	}
	o.swept, l.joint.sweeping = now, false
}

// expireWaiting gives up a batch of expired messages of a paused lane, which makes no attempts, and reports
// whether there may be more. After an error the next batch begins after the message that caused it. It needs
// a spool that can be listed and edited.
func (l *Lane) expireWaiting(ctx context.Context, now time.Time, p *Policy) (more bool, err error) {
	lister, _ := l.o.Spool.(relay.Lister)
	editor, ok := l.o.Spool.(relay.Editor)
	if lister == nil || !ok {
		return false, nil
	}
	o := &l.outage
	f := relay.QueueFilter{Lane: l.o.Name, Waiting: true, OlderThan: now.Add(-p.Expiry), After: o.sweptTo,
		Limit: expireBatch}
	var old []string
	err = lister.List(ctx, f, func(m *relay.Message) bool {
		old = append(old, m.ID)
		return true
	})
	if err != nil {
		return false, err
	}
	for _, id := range old {
		o.sweptTo = id
		if err := l.expire(ctx, editor, id, now, p); err != nil {
			return true, err
		}
	}
	if len(old) < expireBatch {
		o.sweptTo = ""
		return false, nil
	}
	return true, nil
}

// expire gives up the recipients of one message that still wait. The fault that paused the lane becomes their
// last attempt.
func (l *Lane) expire(ctx context.Context, editor relay.Editor, id string, now time.Time, p *Policy) error {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var events []relay.Event
	var owes []relay.Entry
	err := editor.Edit(wait, id, func(m *relay.Message) (relay.Settlement, bool, error) {
		events = events[:0]
		after := append([]relay.Recipient(nil), m.Recipients...)
		for i := range after {
			if r := &after[i]; r.Waiting() {
				a := l.lastTry(r, now)
				d := l.diagnose(&relay.Transaction{Message: m, From: m.Envelope.From}, r, a, true)
				dec := deferral(p, now, m, r, a, d, 0)
				apply(r, &dec, a, d, now)
				events = append(events, relay.AttemptEvent(m, r, now))
			}
		}
		owes = append(owed(p, m, after, now), l.owe(events)...)
		return relay.Settlement{Recipients: after, Owed: owes}, false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, relay.ErrNotFound) {
		return nil // being offered, or gone meanwhile
	}
	if err != nil {
		return err // nothing has changed
	}
	for i := range events {
		l.o.Record.Record(events[i])
	}
	l.tellOwed(owes)
	return nil
}

// lastTry is the attempt to report for a recipient that expires while its lane is paused.
func (l *Lane) lastTry(r *relay.Recipient, now time.Time) *relay.Attempt {
	switch {
	case l.outage.fault != nil:
		a := *l.outage.fault
		return &a
	case r.Last != nil:
		a := *r.Last
		return &a
	}
	return &relay.Attempt{Time: now, Upstream: l.o.Name, Stage: diagnose.StageQueue, NetErr: diagnose.NetErr{
		Kind: diagnose.NetExpired, Text: "not tried within the retry limit",
	}}
}
