package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// Lease implements relay.Spool. It leases first what this process has had from the first moment on, and
// asks the database only if something may be due there. What another process has put within the last second
// may not be seen yet; see Watch.
func (s *Spool) Lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	if err := s.Admit(); err != nil {
		return nil, time.Time{}, err
	}
	leave, err := s.memory.enter(ctx, q.Lane)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer leave()
	deadline := time.Now().Add(q.For)
	leases, next := s.memory.lease(q, deadline, q.Max)
	if next > spool.Nanos(q.Now) || len(leases) == q.Max {
		return leased(leases), timeOf(next), nil
	}
	if err := s.fetch(ctx, q); err != nil {
		if len(leases) > 0 { // they are given, and must reach the caller
			return leased(leases), q.Now.Add(time.Second), nil
		}
		return nil, time.Time{}, err
	}
	more, next := s.memory.lease(q, deadline, q.Max-len(leases))
	return leased(append(leases, more...)), timeOf(next), nil
}

// timeOf is a due time as callers have it: zero for none.
func timeOf(n int64) time.Time {
	if n == spool.Never {
		return time.Time{}
	}
	return spool.TimeOf(n)
}

// fetch leases from the database what is due in a lane, into the memory.
func (s *Spool) fetch(ctx context.Context, q relay.LeaseQuery) error {
	inc, batch := s.inc.Load(), s.batches.Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.CommitTimeout)
	defer cancel()
	s.memory.beginFetch(q.Lane)
	var rows []*database.Row
	next := int64(0)
	err := s.pool.with(ctx, func(c *postgres.Conn) (err error) {
		rows, next, err = s.db.Lease(ctx, c, inc.id, batch, q.Lane, spool.Nanos(q.Now), q.Max)
		return err
	})
	if err != nil {
		s.memory.endFetch(q.Lane, 0)
		return s.leaseFailed(inc, batch, err)
	}
	s.take(inc, rows)
	s.memory.endFetch(q.Lane, next)
	return nil
}

// leaseFailed is the error of a lease from the database. If it may have happened it is taken back: in its
// own time, since this process has the messages as long as it is not.
func (s *Spool) leaseFailed(inc *incarnation, batch int64, err error) error {
	switch {
	case errors.Is(err, postgres.ErrInDoubt):
		s.w.failed(err)
		s.inDoubt(doubt{inc: inc, lease: batch})
	case postgres.Code(err) == database.CodeFenced:
		if err := s.reborn(s.stopping, inc); err != nil {
			return unavailable(err)
		}
		return unavailable(err)
	}
	return err
}

// take takes in what was leased from the database, and sets aside what is damaged.
func (s *Spool) take(inc *incarnation, rows []*database.Row) {
	for _, r := range rows {
		m, err := r.Decode()
		if err != nil {
			s.setAside(inc, r.ID, err)
			continue
		}
		r.Sender = strings.ToLower(m.Envelope.From)
		s.arrive(inc.id, func(inc *incarnation) {
			s.memory.arrive(&owned{row: r, m: m, recipients: len(m.Recipients), inc: inc})
		})
	}
}

// arrive calls f for what was leased to an incarnation, unless that was taken over since.
func (s *Spool) arrive(inc int64, f func(*incarnation)) {
	s.rebirth.Lock()
	defer s.rebirth.Unlock()
	if now := s.inc.Load(); now.id == inc {
		f(now)
	}
}

// setAside has a message tried no more whose text is damaged. It stays as it is.
func (s *Spool) setAside(inc *incarnation, id string, why error) {
	s.o.Log.Error("a message is damaged, and set aside: it is not tried any more", "id", id, "err", why)
	s.w.add(&operation{inc: inc, must: true, add: func(ch *database.Changes) {
		ch.SetAside = append(ch.SetAside, id)
	}})
}

// leased are leases as they are handed out.
func leased(all []granted) []relay.Lease {
	leases := make([]relay.Lease, 0, len(all))
	for _, g := range all {
		leases = append(leases, relay.Lease{Token: g.token, Message: g.message()})
	}
	return leases
}

// message is the caller's own copy of the message. Its row was decoded before, or made here.
func (g granted) message() *relay.Message {
	if g.m != nil {
		return g.m
	}
	m, _ := g.o.row.DecodeAnyway()
	return m
}

// Extend implements relay.Spool.
func (s *Spool) Extend(_ context.Context, t relay.Token, d time.Duration) error {
	return s.memory.extend(t, d)
}

// Release implements relay.Releaser.
func (s *Spool) Release(t relay.Token) error { return s.memory.release(t) }

// Watch implements relay.Watcher. Of others' mail it is told within a second or so.
func (s *Spool) Watch(due func(lane string)) (stop func()) { return s.watchers.Watch(due) }

// Admit implements relay.Admitter.
func (s *Spool) Admit() error {
	if err := s.w.refuses(); err != nil {
		return unavailable(err)
	}
	return s.alive()
}
