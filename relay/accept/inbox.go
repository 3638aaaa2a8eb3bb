// Package accept takes accepted mail in. The front door calls it for each message, before it answers the end
// of data.
//
// What always holds: before Accept returns nil the lane is chosen and the message is stored durably. Only
// after that do the recorders and the lane hear of it.
package accept

import (
	"context"
	"io"
	"time"

	"mailwhy/relay"
)

// Inbox accepts messages: it stores them, records them, and wakes their lane. It is safe for concurrent use.
type Inbox struct {
	Spool  relay.Spool
	Route  func(*relay.Message) string // name of the lane; looked up for each message
	Wake   func(lane string)
	Record relay.Recorder
	Now    func() time.Time
}

// Accept stores m durably, and only then returns nil: the caller may answer 250. The errors are Spool.Put's.
func (in *Inbox) Accept(ctx context.Context, m *relay.Message, content io.Reader) error {
	m.Lane = in.Route(m)
	for i := range m.Recipients {
		m.Recipients[i].State = relay.Queued
		m.Recipients[i].NextAttempt = m.Arrived
	}
	if err := in.Spool.Put(ctx, m, content); err != nil {
		return err
	}
	now := in.Now()
	for i := range m.Recipients {
		in.Record.Record(relay.AcceptedEvent(m, i, now))
	}
	in.Wake(m.Lane)
	return nil
}
