package processor

import (
	"context"
	"errors"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// waiting looks in the spool for the message that a queue id names, if it is for the event's recipient. Where
// the recipient was handed over it is remembered now.
func (p *Processor) waiting(ctx context.Context, e *feedback.Event, k feedback.Key) (*relay.Message, error) {
	if strength(k.Kind) > strength(feedback.KeyEnvelopeID) || !relay.ValidID(k.Value) {
		return nil, nil
	}
	var found *relay.Message
	err := p.o.Spool.List(ctx, relay.QueueFilter{IDs: []string{k.Value}}, func(m *relay.Message) bool {
		if index, _ := recipientOf(e, k, m); index >= 0 {
			found = m
			if r := &m.Recipients[index]; r.Last != nil && (r.State == relay.Relayed || r.Last.Uncertain) {
				p.o.Store.Relayed(m)
			}
		}
		return found == nil
	})
	return found, err
}

// editFor is how long a message may be leased until the next try.
const editFor = 2 * time.Second

// errSettled ends an edit that has nothing to change.
var errSettled = errors.New("it is settled")

// settle settles the recipient of an event as relayed: an upstream that tells what became of a message has
// it. What comes of that is remembered, so that the event is matched when it is looked at again.
func (p *Processor) settle(ctx context.Context, r *recall.Report, m *match) error {
	ctx, cancel := context.WithTimeout(ctx, editFor)
	defer cancel()
	var after relay.Message
	var owed []relay.Entry
	now := p.o.Now()
	edit := func(message *relay.Message) (relay.Settlement, bool, error) {
		after = *message
		after.Recipients = slices.Clone(message.Recipients)
		if m.index >= len(after.Recipients) || !open(&after.Recipients[m.index]) {
			return relay.Settlement{}, false, errSettled
		}
		asRelayed(&after.Recipients[m.index], r.Event, now)
		owed = p.success(&after, m.index, now)
		return relay.Settlement{Recipients: after.Recipients, Owed: owed}, false, nil
	}
	err := p.o.Spool.Edit(ctx, m.message.ID, edit)
	switch {
	case errors.Is(err, relay.ErrNotFound) && r.Tries > 2: // the lane would have told of it by now
		after = *m.message
		after.Recipients = slices.Clone(m.message.Recipients)
		asRelayed(&after.Recipients[m.index], r.Event, now)
	case errors.Is(err, errSettled):
	case err != nil:
		return err
	default:
		p.o.Record.Record(relay.AttemptEvent(&after, &after.Recipients[m.index], now))
		if len(owed) > 0 {
			p.o.NoticesDue()
		}
	}
	p.o.Store.Relayed(&after)
	return nil
}

// open reports whether a recipient that was offered may be offered again. That an attempt was uncertain its
// last one need not say.
func open(r *relay.Recipient) bool { return !r.State.Final() && r.Last != nil }

// asRelayed makes a recipient relayed by what an event tells.
func asRelayed(rc *relay.Recipient, e *feedback.Event, now time.Time) {
	last := *rc.Last
	rc.State, rc.NextAttempt, rc.Diagnosis, rc.HeldWhy = relay.Relayed, time.Time{}, nil, ""
	rc.Last = &relay.Attempt{
		Time: last.Time, Upstream: last.Upstream, Host: last.Host, Remote: last.Remote, TLS: last.TLS,
		Stage: diagnose.StageRemote, DSN: last.DSN, ReportedBy: last.Host,
	}
	if i := slices.IndexFunc(e.Keys, func(k feedback.Key) bool {
		return k.Kind == feedback.KeyProviderID
	}); i >= 0 {
		rc.Last.UpstreamID = e.Keys[i].Value
	}
	rc.History = append(slices.Clone(rc.History),
		relay.HistoryEntry{Time: now, Event: relay.EventRelayed, Stage: diagnose.StageRemote})
	if n := len(rc.History) - relay.MaxHistory; n > 0 {
		rc.History = slices.Delete(rc.History, 1, 1+n) // the beginning says the most
	}
}

// success is what is owed for a recipient that was relayed: a notice, if it was asked for and the upstream
// was not (RFC 3461, 5.2.2 (b)).
func (p *Processor) success(m *relay.Message, index int, now time.Time) []relay.Entry {
	r := &m.Recipients[index]
	if m.Envelope.From == "" || m.Report || !r.Notify.OwesSuccess() || r.Last.DSN {
		return nil
	}
	return relay.NoticeEntries([]relay.Notice{{
		Message: m.ID, Recipient: index, Kind: relay.NoticeRelayed, Due: now.Add(p.o.Settings().Collect),
	}})
}
