// Package accept takes accepted mail in. The front door calls it for each message, before it answers the end
// of data.
//
// The Router says which upstreams the mail for a recipient may go to, and in which order; Ways chooses among
// them by how they stand; the Inbox stores the mail; the Mover moves what waits when an upstream is down, or
// the routes have changed.
//
// What always holds: before Accept returns nil the lanes are chosen and the mail is stored durably, as one
// message for all recipients with the same upstreams to go to. Only after that do the recorders and the
// lanes hear of it. The queue id that the client is told is the ID of one of these messages and the Mail of
// all. Mail whose last attempt may have been taken never moves, nor does mail move because of what an
// upstream says about a recipient or a message.
package accept

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Inbox accepts mail: it stores it, records it, and wakes its lanes. It is safe for concurrent use.
type Inbox struct {
	Spool  relay.Spool
	Ways   *Ways
	Taken  func(upstream string, recipients int) // hears what each upstream gets
	Wake   func(lane string)
	Record relay.Recorder
	Now    func() time.Time
	Trying *Try // for Try alone

	Rewrite func(*relay.Message) // replaces and adds recipients, before their routes are chosen; optional
	// Suppressions is asked before mail is stored, and Diagnose explains what it says; both are optional.
	Suppressions relay.Suppressions
	Diagnose     func(diagnose.Symptom) diagnose.Diagnosis
}

// Accept stores m durably, and only then returns nil: the caller may answer 250. It returns relay.ErrNoRoute
// for mail that no upstream may send, a *relay.SuppressedError for mail of which all recipients are
// suppressed, and else Spool.Put's errors.
func (in *Inbox) Accept(ctx context.Context, m *relay.Message, content io.Reader) error {
	parts, err := in.parts(m, false)
	if err != nil {
		return err
	}
	return in.store(ctx, parts, content)
}

// parts are the messages of a mail that was just received, due at once. apart says that archives have
// messages of their own.
func (in *Inbox) parts(m *relay.Message, apart bool) ([]part, error) {
	if in.Rewrite != nil {
		in.Rewrite(m)
	}
	for i := range m.Recipients {
		m.Recipients[i].State = relay.Queued
		m.Recipients[i].NextAttempt = m.Arrived
	}
	routes, err := in.routes(m)
	if err != nil {
		return nil, err
	}
	if err := in.suppressed(m, routes); err != nil {
		return nil, err
	}
	return in.part(m, routes, apart), nil
}

// store stores the messages of a mail, the first of which has its id, and tells of them.
func (in *Inbox) store(ctx context.Context, parts []part, content io.Reader) error {
	stored := make([]*relay.Message, len(parts))
	for i := range parts {
		stored[i] = parts[i].message
	}
	if err := in.Spool.Put(ctx, stored, content); err != nil {
		return err
	}
	in.accepted(parts, stored[0], in.Now())
	for _, p := range parts {
		in.Taken(p.message.Lane, len(p.routes))
	}
	in.wake(parts)
	return nil
}

// accepted records that messages of the mail of first were accepted at now.
func (in *Inbox) accepted(parts []part, first *relay.Message, now time.Time) {
	for _, p := range parts {
		p.message.Changed = first.Changed // complete only since the content was read
		in.recordAccepted(p, now, func(int) bool { return false })
	}
}

// wake wakes the lanes of messages.
func (in *Inbox) wake(parts []part) {
	for _, p := range parts {
		in.Wake(p.message.Lane)
	}
}

// recordAccepted records that the recipients of a message were accepted at now, but for those to be left out.
func (in *Inbox) recordAccepted(p part, now time.Time, without func(i int) bool) {
	first := p.message.ID == p.message.MailID()
	for i, route := range p.routes {
		if without(i) {
			continue
		}
		e := relay.AcceptedEvent(p.message, i, route.Rule, route.Reason, now)
		e.First, first = first, false
		in.Record.Record(e)
	}
}

// suppressed refuses mail of which all recipients but archives are suppressed, and records that. Where only
// some are it is stored, and their lane settles them.
func (in *Inbox) suppressed(m *relay.Message, routes []Route) error {
	if in.Suppressions == nil || m.Report || m.Unsuppressed {
		return nil
	}
	now := in.Now()
	entries := make([]*relay.Suppression, len(m.Recipients))
	for i := range m.Recipients {
		if m.Recipients[i].Archive {
			continue
		}
		entries[i] = in.Suppressions.Check(m.Envelope.From, m.Recipients[i].Address, now).Entry
		if entries[i] == nil {
			return nil
		}
	}
	m.Lane = in.Ways.choose(routes[0])
	for i, entry := range entries {
		if entry == nil {
			continue
		}
		a := relay.SuppressedAttempt(in.Ways.choose(routes[i]), entry, now)
		d := in.Diagnose(diagnose.Symptom{Stage: a.Stage, NetErr: a.NetErr, Final: true})
		m.Recipients[i].Last, m.Recipients[i].Diagnosis = &a, &d
		in.Record.Record(relay.SuppressedEvent(m, i, entry, now))
	}
	return &relay.SuppressedError{Entries: entries}
}

// routes are those of the recipients.
func (in *Inbox) routes(m *relay.Message) ([]Route, error) {
	routes := make([]Route, len(m.Recipients))
	for i := range m.Recipients {
		if routes[i] = in.Ways.Route(m, i); len(routes[i].Upstreams) == 0 {
			return nil, fmt.Errorf("%w: %s", relay.ErrNoRoute, routes[i].Reason)
		}
	}
	return routes, nil
}

// part is one message of a mail.
type part struct {
	message *relay.Message
	routes  []Route // of its recipients, all of which have the same upstreams
}

// part makes a message for all recipients that have the same upstreams to go to, in the order in which they
// come first. The first one is m itself. The others have ids derived from its own, so that a mail that is
// put again is known. apart says that archives have messages of their own, after all others.
func (in *Inbox) part(m *relay.Message, routes []Route, apart bool) []part {
	m.Lane = in.Ways.choose(routes[0])
	wanted := make([]string, len(routes))
	for i := range routes {
		if wanted[i] = routes[i].key(); apart && m.Recipients[i].Archive {
			wanted[i] += " archive"
		}
	}
	if len(slices.Compact(slices.Clone(wanted))) == 1 {
		return []part{{m, routes}}
	}
	m.Mail = m.ID
	recipients := m.Recipients
	m.Recipients = nil
	parts := []part{{message: m}}
	keys := wanted[:1:1]
	for i, route := range routes {
		at := slices.Index(keys, wanted[i])
		if at < 0 {
			p := *m
			p.ID, p.Recipients = relay.DerivedID(m.Arrived, "lane", m.ID, wanted[i]), nil
			p.Lane = in.Ways.choose(route)
			at, parts, keys = len(parts), append(parts, part{message: &p}), append(keys, wanted[i])
		}
		p := &parts[at]
		p.message.Recipients = append(p.message.Recipients, recipients[i])
		p.routes = append(p.routes, route)
	}
	return parts
}
