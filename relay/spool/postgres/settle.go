package postgres

import (
	"context"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// Settle implements relay.Spool. While the database cannot be written the settlement waits in memory; when
// ctx ends Settle returns its cause, and the settlement goes on waiting. It is lost when this process is
// taken over.
func (s *Spool) Settle(ctx context.Context, t relay.Token, set relay.Settlement) error {
	o, err := s.memory.beginSettle(t)
	if err != nil {
		return err
	}
	op, err := s.settlement(o, set)
	if err != nil {
		s.memory.abandonSettle(o)
		return err
	}
	return s.w.do(ctx, op)
}

// settlement is the operation that settles a lease.
func (s *Spool) settlement(o *owned, set relay.Settlement) (*operation, error) {
	if err := spool.CheckSettlement(&set, o.recipients); err != nil {
		return nil, err
	}
	r := &spool.Record{ID: o.row.ID, Lane: o.row.Lane, Sender: o.row.Sender}
	if err := r.SetRecipients(set.Recipients); err != nil {
		return nil, err
	}
	if set.Lane != "" {
		r.Lane = set.Lane
	}
	s.memory.giveTurn(r)
	st := &database.State{Record: r, Lane: set.Lane, Fresh: o.row.Fresh}
	owed := owedBy(o.row.ID, set.Owed)
	return &operation{
		inc: o.inc, must: true, bytes: len(r.Recipients),
		add: func(ch *database.Changes) {
			if r.Open == 0 && len(owed) == 0 {
				ch.Ended = append(ch.Ended, st)
			} else {
				ch.Changed = append(ch.Changed, st)
			}
			ch.Owed = append(ch.Owed, owed...)
		},
		after: func(ch *database.Changes, err error) { s.settled(o, st, ch, err) },
	}, nil
}

// owedBy are entries of a message, in copies that the caller cannot change.
func owedBy(id string, entries []relay.Entry) []relay.Entry {
	owed := make([]relay.Entry, len(entries))
	for i, e := range entries {
		e.Message, e.Payload = id, append([]byte(nil), e.Payload...)
		owed[i] = e
	}
	return owed
}

// settled ends a lease whose settlement is durable, and tells the lane that the message waits for.
func (s *Spool) settled(o *owned, st *database.State, ch *database.Changes, err error) {
	if err != nil {
		s.memory.abandonSettle(o)
		return
	}
	lane, stays := ch.Lanes[st.ID]
	s.memory.endSettle(o, !stays)
	if st.Due == spool.Never || !stays {
		return
	}
	s.memory.due(lane, st.Due)
	if lane != o.row.Lane {
		s.watchers.Tell(lane)
	}
}
