package postgres

import (
	"context"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// enter waits until nobody else leases from a lane, and notes that its mail is asked for. The caller must
// call leave when it has leased.
func (m *memory) enter(ctx context.Context, name string) (leave func(), err error) {
	m.mu.Lock()
	l := m.lane(name)
	l.asked = time.Now()
	m.mu.Unlock()
	select {
	case l.busy <- struct{}{}:
		return func() { <-l.busy }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// lease hands out up to max messages of a lane that are in memory, and returns when the first of the others
// is due, as far as that is known: 0 is not known.
func (m *memory) lease(q relay.LeaseQuery, deadline time.Time, max int) (leases []granted, next int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lapse(time.Now())
	l := m.lane(q.Lane)
	now, next := spool.Nanos(q.Now), l.next
	for i := 0; i < len(l.ready); {
		o := l.ready[i]
		if o.row.Due > now { // it was put after the caller looked at the clock
			next = min(next, o.row.Due)
			i++
			continue
		}
		if len(leases) == max {
			return leases, now
		}
		m.takeOut(o)
		leases = append(leases, m.grant(o, deadline))
	}
	return leases, next
}

// beginFetch begins to look into the database for what is due in a lane.
func (m *memory) beginFetch(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lane(name).next = spool.Never // what comes meanwhile lowers it
}

// endFetch notes when the first of those is due that are left there; 0 when that is not known.
func (m *memory) endFetch(name string, next int64) { m.due(name, next) }

// extend moves the deadline of a lease to d from now.
func (m *memory) extend(t relay.Token, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.current(t)
	if err != nil {
		return err
	}
	if o.deadline = time.Now().Add(d); o.deadline.Before(m.sweepAt) {
		m.sweepAt = o.deadline
	}
	return nil
}

// release ends a lease; its message waits again.
func (m *memory) release(t relay.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.current(t)
	if err != nil {
		return err
	}
	m.endLease(o)
	m.wait(o)
	return nil
}

// leaseID leases a message without a deadline that waits in memory. If somebody has it other is closed when
// that lease ends.
func (m *memory) leaseID(id string) (g granted, other <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lapse(time.Now())
	o := m.byID[id]
	switch {
	case o == nil:
		return granted{}, nil
	case o.token != "":
		return granted{}, o.ended
	}
	m.takeOut(o)
	return m.grant(o, time.Time{}), nil
}

// leaseArrived takes in a message that is leased to this process, and leases it.
func (m *memory) leaseArrived(o *owned, deadline time.Time) granted {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grant(o, deadline)
}
