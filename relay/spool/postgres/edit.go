package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// Edit implements relay.Editor. The change is stored even when ctx ends after change has run. Another
// process may have leased the message from its first moment on: within a heartbeat it is settled, or given
// back.
func (s *Spool) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	g, err := s.takeForEdit(ctx, id)
	if err != nil {
		return err
	}
	m := g.message()
	set, drop, err := change(m)
	if err != nil {
		s.memory.release(g.token)
		return err
	}
	o, err := s.memory.beginSettle(g.token)
	if err != nil {
		return err
	}
	op := s.dropping(o)
	if !drop {
		if op, err = s.settlement(o, set); err != nil {
			s.memory.abandonSettle(o)
			s.memory.release(g.token)
			return err
		}
	}
	return s.w.do(ctx, op)
}

// dropping is the operation that removes a leased message and its entries of the outbox.
func (s *Spool) dropping(o *owned) *operation {
	return &operation{
		inc: o.inc, must: true,
		add: func(ch *database.Changes) {
			ch.Dropped = append(ch.Dropped, &database.State{
				Record: &spool.Record{ID: o.row.ID}, Fresh: o.row.Fresh,
			})
		},
		after: func(_ *database.Changes, err error) {
			if err != nil {
				s.memory.abandonSettle(o)
			} else {
				s.memory.endSettle(o, true)
			}
		},
	}
}

// editPoll is how often Edit looks whether another process has given a message back.
const editPoll = 100 * time.Millisecond

// takeForEdit leases a message without a deadline, when nobody else has it any more.
func (s *Spool) takeForEdit(ctx context.Context, id string) (granted, error) {
	for {
		g, other := s.memory.leaseID(id)
		if g.o != nil {
			return g, nil
		}
		if other == nil {
			var err error
			if g, err = s.fetchID(ctx, id); err != nil || g.o != nil {
				return g, err
			}
		}
		timer := time.NewTimer(editPoll)
		select {
		case <-other:
		case <-timer.C: // a lease in memory may lapse, too
		case <-ctx.Done():
			timer.Stop()
			return granted{}, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// fetchID leases a message in the database. Nothing is leased if another process has it.
func (s *Spool) fetchID(ctx context.Context, id string) (g granted, err error) {
	inc, batch := s.inc.Load(), s.batches.Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.CommitTimeout)
	defer cancel()
	var r *database.Row
	there := false
	err = s.pool.with(ctx, func(c *postgres.Conn) (err error) {
		r, there, err = s.db.LeaseID(ctx, c, inc.id, batch, id)
		return err
	})
	switch {
	case err != nil:
		return g, s.leaseFailed(inc, batch, err)
	case r == nil && !there:
		return g, relay.ErrNotFound
	case r == nil:
		return g, nil
	}
	m, err := r.Decode()
	if err != nil {
		s.setAside(inc, id, err)
		return g, errors.New("the message is damaged, and set aside: " + err.Error())
	}
	r.Sender = strings.ToLower(m.Envelope.From)
	s.arrive(inc.id, func(inc *incarnation) {
		o := &owned{row: r, m: m, recipients: len(m.Recipients), inc: inc}
		g = s.memory.leaseArrived(o, time.Time{})
	})
	return g, nil
}

// rerouteMax is how many messages get another lane in one transaction.
const rerouteMax = 1024

// Reroute implements relay.Editor. What waits in the memory of another process for a lane that is not known
// there any more is given back within a heartbeat, and rerouted by the next call.
func (s *Spool) Reroute(ctx context.Context, known []string, to string) (total int64, err error) {
	lanes := append(slices.Clone(known), to)
	given := s.giveIdle(time.Hour, func(lane string) bool { return !slices.Contains(lanes, lane) })
	for _, op := range given {
		select {
		case <-op.done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	for {
		var n int64
		err := s.pool.with(ctx, func(c *postgres.Conn) (err error) {
			n, err = s.db.Reroute(ctx, c, s.inc.Load().id, lanes, to, rerouteMax)
			return err
		})
		if total += n; err != nil || n == 0 {
			if total > 0 {
				s.memory.due(to, 0)
				s.watchers.Tell(to)
			}
			return total, err
		}
	}
}
