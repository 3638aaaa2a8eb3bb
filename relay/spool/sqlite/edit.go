package sqlite

import (
	"context"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/queue"
)

// Edit implements relay.Editor. The change is stored even when ctx ends after change has run.
func (s *Spool) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	le, r, err := takeForEdit(ctx, s, id)
	if err != nil {
		return err
	}
	m, err := r.Decode()
	if err != nil {
		s.queue.Release(le.Token)
		s.quarantine.add(ctx, []database.Damaged{{Record: r, Why: err.Error()}})
		return errQuarantined
	}
	st, drop, err := change(m)
	if err != nil {
		s.queue.Release(le.Token)
		return err
	}
	if le, err = s.queue.BeginSettle(le.Token); err != nil {
		return err
	}
	le.Recipients = len(m.Recipients)
	op := dropping(s, le)
	if !drop {
		if op, err = settlement(s, le, st); err != nil {
			s.queue.AbortSettle(le)
			s.queue.Release(le.Token)
			return err
		}
	}
	return s.w.ops.do(ctx, op)
}

// dropping is the operation that removes a leased message and its entries of the outbox.
func dropping(s *Spool, le *queue.Lease) *operation {
	return &operation{
		mustWrite: true,
		apply: func(t *database.Tx) error {
			if err := t.DropEntries(le.Seq); err != nil {
				return err
			}
			return t.Delete(le.Record())
		},
		after: func(err error) {
			if err != nil {
				s.queue.AbortSettle(le)
			} else {
				s.queue.EndSettle(le, nil)
			}
		},
	}
}

// takeForEdit leases a message without a deadline, when nobody else has it any more.
func takeForEdit(ctx context.Context, s *Spool, id string) (*queue.Lease, *spool.Record, error) {
	for {
		r, err := s.lookUp(id)
		if err != nil {
			return nil, nil, err
		}
		le, other := s.queue.TakeForEdit(r)
		if le == nil {
			if err := s.queue.Await(ctx, other); err != nil {
				return nil, nil, err
			}
			continue
		}
		// It may have been settled between the look and the lease.
		now, err := s.lookUp(id)
		if err == nil {
			s.queue.Reposition(le, now)
			return le, now, nil
		}
		s.queue.Release(le.Token)
		return nil, nil, err
	}
}

// rerouteMax is how many messages get another lane in one transaction.
const rerouteMax = 1024

// Reroute implements relay.Editor.
func (s *Spool) Reroute(ctx context.Context, known []string, to string) (int64, error) {
	var total int64
	defer func() {
		s.queue.ForgetWaits()
		if total > 0 {
			s.watchers.Tell(to)
		}
	}()
	lane := ""
	for {
		var ok bool
		next := ""
		err := s.read(func(c *database.Conn) (err error) {
			next, ok, err = database.NextLane(c, lane)
			return err
		})
		if err != nil || !ok {
			return total, err
		}
		if lane = next; lane == to || slices.Contains(known, lane) {
			continue
		}
		n, err := rerouteLane(ctx, s, lane, to)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// rerouteLane gives all messages of a lane to another one. They lose their slots, and get new ones there.
func rerouteLane(ctx context.Context, s *Spool, from, to string) (total int64, err error) {
	for {
		var n int64
		err := s.w.ops.do(ctx, &operation{size: rerouteMax * 256, apply: func(t *database.Tx) (err error) {
			n, err = t.Lane(from).MoveTo(to, rerouteMax)
			return err
		}, after: func(error) { s.queue.EvictAll() }})
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}
