package relay

import (
	"context"
	"io"
	"time"
)

// Inbox takes messages in: it stores them, tells of them, and wakes their lane. It is safe for concurrent use.
type Inbox struct {
	Spool  Spool
	Route  func(*Message) string // name of the lane; looked up for each message
	Wake   func(lane string)
	Record Recorder
	Now    func() time.Time
}

// Accept stores m durably, and only then returns nil: the caller may answer 250. The errors are Spool.Put's.
func (in *Inbox) Accept(ctx context.Context, m *Message, content io.Reader) error {
	m.Lane = in.Route(m)
	for i := range m.Recipients {
		m.Recipients[i].State = Queued
		m.Recipients[i].NextAttempt = m.Arrived
	}
	if err := in.Spool.Put(ctx, m, content); err != nil {
		return err
	}
	now := in.Now()
	for i := range m.Recipients {
		in.Record.Record(Event{
			Time: now, Kind: EventAccepted, First: i == 0, ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From,
			To: m.Recipients[i].Address, Client: clientName(&m.Client), User: m.Client.User, Size: m.Size, Lane: m.Lane,
		})
	}
	in.Wake(m.Lane)
	return nil
}
