// Package accept takes accepted mail in. The front door calls it for each message, before it answers the end
// of data.
//
// What always holds: before Accept returns nil the lanes are chosen and the mail is stored durably, as one
// message for each lane. Only after that do the recorders and the lanes hear of it. The queue id that the
// client is told is the ID of one of these messages and the Mail of all.
package accept

import (
	"context"
	"io"
	"slices"
	"time"

	"mailwhy/relay"
)

// Inbox accepts mail: it stores it, records it, and wakes its lanes. It is safe for concurrent use.
type Inbox struct {
	Spool  relay.Spool
	Route  func(m *relay.Message, recipient int) string // name of the lane; looked up for each recipient
	Wake   func(lane string)
	Record relay.Recorder
	Now    func() time.Time
}

// Accept stores m durably, and only then returns nil: the caller may answer 250. The errors are Spool.Put's.
func (in *Inbox) Accept(ctx context.Context, m *relay.Message, content io.Reader) error {
	for i := range m.Recipients {
		m.Recipients[i].State = relay.Queued
		m.Recipients[i].NextAttempt = m.Arrived
	}
	parts := in.part(m)
	if err := in.Spool.Put(ctx, parts, content); err != nil {
		return err
	}
	m.Size = parts[0].Size
	now := in.Now()
	for _, p := range parts {
		for i := range p.Recipients {
			in.Record.Record(relay.AcceptedEvent(p, i, now))
		}
	}
	for _, p := range parts {
		in.Wake(p.Lane)
	}
	return nil
}

// part makes a message for each lane that the recipients of m go to, in the order in which they come
// first. The first one is m itself. The others have ids derived from its own, so that a mail that is put
// again is known.
func (in *Inbox) part(m *relay.Message) []*relay.Message {
	m.Lane = in.Route(m, 0)
	lanes := []string{m.Lane}
	for i := 1; i < len(m.Recipients); i++ {
		lanes = append(lanes, in.Route(m, i))
	}
	parts := []*relay.Message{m}
	if !slices.ContainsFunc(lanes, func(lane string) bool { return lane != m.Lane }) {
		return parts
	}
	m.Mail = m.ID
	recipients := m.Recipients
	m.Recipients = nil
	for i, lane := range lanes {
		at := slices.IndexFunc(parts, func(p *relay.Message) bool { return p.Lane == lane })
		if at < 0 {
			p := *m
			p.ID, p.Lane, p.Recipients = relay.DerivedID(m.Arrived, "lane", m.ID, lane), lane, nil
			at, parts = len(parts), append(parts, &p)
		}
		parts[at].Recipients = append(parts[at].Recipients, recipients[i])
	}
	return parts
}
