package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"time"

	"mailwhy/relay"
)

// Edit implements relay.Editor. The change is stored even when ctx ends after change has run.
func (s *Spool) Edit(ctx context.Context, id string, change func(*relay.Message) (relay.Settlement, bool, error)) error {
	le, r, err := s.takeForEdit(ctx, id)
	if err != nil {
		return err
	}
	m, err := r.decode()
	if err != nil {
		s.Release(le.token)
		s.quarantineAll(ctx, []damagedRecord{{r, err.Error()}})
		return errQuarantined
	}
	st, drop, err := change(m)
	if err != nil {
		s.Release(le.token)
		return err
	}
	s.mu.Lock()
	le.settling = true
	s.mu.Unlock()
	var op *operation
	if drop {
		op = s.dropping(le)
	} else if op, err = s.settlement(le, st); err != nil {
		s.unsettle(le)
		s.Release(le.token)
		return err
	}
	return s.w.do(ctx, op)
}

// dropping is the operation that removes a leased message and its notices.
func (s *Spool) dropping(le *lease) *operation {
	return &operation{
		kept: true,
		apply: func(t *tx) error {
			if err := t.dropNotices(le.seq); err != nil {
				return err
			}
			return t.delete(le.seq, le.size, le.file)
		},
		after: func(err error) { s.settled(le, nil, true, err) },
	}
}

// takeForEdit leases a message without a deadline, when nobody else has it any more.
func (s *Spool) takeForEdit(ctx context.Context, id string) (*lease, *record, error) {
	for {
		r, err := s.lookUp(id)
		if err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		s.lapse(time.Now())
		other := s.leased[r.seq]
		var le *lease
		if other == nil {
			le = s.grant(r, time.Time{})
			s.lineLocked(r.lane).spill()
		}
		s.mu.Unlock()
		if le == nil {
			if err := s.awaitEnd(ctx, other); err != nil {
				return nil, nil, err
			}
			continue
		}
		// It may have been settled between the look and the lease.
		now, err := s.lookUp(id)
		if err == nil {
			le.place = place{now.turn, now.seq}
			return le, now, nil
		}
		s.Release(le.token)
		return nil, nil, err
	}
}

// lookUp reads the record of a message.
func (s *Spool) lookUp(id string) (r *record, err error) {
	err = s.read(func(c *conn) (err error) {
		r, err = c.one("id=?", id)
		return err
	})
	return r, err
}

// awaitEnd waits for a lease to end, or for its deadline.
func (s *Spool) awaitEnd(ctx context.Context, le *lease) error {
	s.mu.Lock()
	wait := time.Until(le.deadline)
	if le.deadline.IsZero() || le.settling {
		wait = time.Minute // it ends by a settlement
	}
	s.mu.Unlock()
	timer := time.NewTimer(max(wait, time.Millisecond))
	defer timer.Stop()
	select {
	case <-le.ended:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rerouteMax is how many messages get another lane in one transaction.
const rerouteMax = 1024

// Reroute implements relay.Editor.
func (s *Spool) Reroute(ctx context.Context, known []string, to string) (int64, error) {
	defer s.unknownWaits()
	var total int64
	lane := ""
	for {
		var ok bool
		err := s.read(func(c *conn) error {
			ok = false
			return c.query(func(row []driver.Value) error {
				lane, ok = row[0].(string)
				return errStop
			}, "SELECT lane FROM message WHERE lane>? ORDER BY lane LIMIT 1", lane)
		})
		if err != nil || !ok {
			return total, err
		}
		if lane == to || slices.Contains(known, lane) {
			continue
		}
		n, err := s.rerouteLane(ctx, lane, to)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// rerouteLane gives all messages of a lane to another one. They lose their turns, and get new ones there.
func (s *Spool) rerouteLane(ctx context.Context, from, to string) (total int64, err error) {
	for {
		var n int64
		err := s.w.do(ctx, &operation{size: rerouteMax * 256, apply: func(t *tx) (err error) {
			n, err = t.exec("UPDATE message SET lane=?, turn=NULL WHERE seq IN (SELECT seq FROM message WHERE lane=? LIMIT ?)",
				to, from, int64(rerouteMax))
			return err
		}, after: func(error) { s.spillAll() }})
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}

// errQuarantined is returned for a message that turned out to be damaged and was set aside.
var errQuarantined = errors.New("the message was damaged and is set aside")
