package queue

import (
	"context"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// inMemory is a message that was just put, as it is to be leased: a lane that is not behind gets it from
// memory, and the database is written only.
type inMemory struct {
	r *spool.Record // without its texts, with the content unless that is in a file
	m *relay.Message
}

func (f *inMemory) position() Position { return positionOf(f.r) }

// bytes is about how much memory it takes.
func (f *inMemory) bytes() int64 { return int64(len(f.r.Data)) + 1024 + 256*int64(len(f.m.Recipients)) }

// Leasable is the message that a lease of m gives out: a copy, with the times as the database would give
// them.
func Leasable(m *relay.Message) *relay.Message {
	c := *m
	c.Arrived = c.Arrived.Round(0)
	c.Recipients = slices.Clone(m.Recipients)
	for i := range c.Recipients {
		c.Recipients[i].NextAttempt = c.Recipients[i].NextAttempt.Round(0)
	}
	return &c
}

// ArriveNew tells the lane of a new message that was committed. m, which must be Leasable's, is kept, and
// so is r without its texts.
func (q *Queue) ArriveNew(r *spool.Record, m *relay.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r.Head, r.Recipients = "", ""
	l := q.lane(r.Lane)
	if r.Slot == 0 || l.more || q.leased[r.Seq] != nil || !l.keep(inMemory{r, m}, q.o.Memory) {
		q.arrive(r)
	}
}

// KeepsUp reports whether a lane takes its messages from memory.
func (q *Queue) KeepsUp(lane string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.lane(lane).more
}

// InMemory is how many messages the lane has in memory.
func (l *Lane) InMemory() int {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return len(l.inMemory)
}

// keep puts f in its place among the messages in memory; false when they would take more than max bytes.
// q.mu is held.
func (l *Lane) keep(f inMemory, max int64) bool {
	if l.weight+f.bytes() > max {
		return false
	}
	l.weight += f.bytes()
	at := len(l.inMemory)
	for at > 0 && f.position().compare(l.inMemory[at-1].position()) < 0 {
		at--
	}
	l.inMemory = slices.Insert(l.inMemory, at, f)
	return true
}

// takeFirst takes the first message in memory. q.mu is held.
func (l *Lane) takeFirst() inMemory {
	f := l.inMemory[0]
	l.inMemory[0] = inMemory{}
	l.inMemory = l.inMemory[1:]
	l.lighten(f.bytes())
	if f.position().compare(l.cursor) > 0 {
		l.cursor = f.position()
	}
	return f
}

// lighten notes that messages of n bytes are in memory no more. q.mu is held.
func (l *Lane) lighten(n int64) {
	l.weight -= n
	if l.lighter != nil {
		close(l.lighter)
		l.lighter = nil
	}
}

// evict forgets the messages in memory: they are found by the next scan. q.mu is held.
func (l *Lane) evict() {
	if len(l.inMemory) > 0 {
		l.stepBack(l.inMemory[0].position())
	}
}

// LeaseInMemory leases from memory, and returns when the first that stays is due. It reports false when
// that is not possible, and nothing was leased.
func (l *Lane) LeaseInMemory(lq relay.LeaseQuery) (leases []relay.Lease, next time.Time, ok bool) {
	q := l.q
	deadline := time.Now().Add(lq.For)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lapse(time.Now())
	for len(l.inMemory) > 0 && len(leases) < lq.Max {
		due := l.inMemory[0].r.Due
		if due > spool.Nanos(lq.Now) && spool.TimeOf(due).Sub(lq.Now) > earlyBy {
			l.evict() // the clock was set back
			break
		}
		if due > spool.Nanos(lq.Now) {
			return leases, spool.TimeOf(due), true // it was put after the caller looked at the clock
		}
		f := l.takeFirst()
		if q.leased[f.r.Seq] != nil {
			continue
		}
		l.fair.Leased(f.r.Slot)
		if f.r.File == "" {
			q.contents.add(f.r.ID, f.r.Data)
			f.r.Data = nil
		}
		l.taken = time.Now()
		le := q.grant(f.r, len(f.m.Recipients), deadline)
		leases = append(leases, relay.Lease{Token: le.Token, Message: f.m})
	}
	if l.more || len(l.inMemory) > 0 {
		next = lq.Now
	}
	return leases, next, !l.more || len(leases) > 0
}

// throttleAt is how many messages of a lane in memory are enough: twice what it takes at once.
const throttleAt = 100

// throttleMax is how long a message waits at most for the lane to catch up.
const throttleMax = 10 * time.Millisecond

// Throttle lets a new message wait a moment while many of its lane are in memory, or the memory for them is
// half full, and the lane is taking them. Clients, of which there may be many more than connections to the
// upstream, would otherwise run away from the lane, and all would have to be read back: in the end
// everything takes longer. A lane that does not keep up all the same soon has more than fits into the
// memory, and then nobody waits.
func (q *Queue) Throttle(ctx context.Context, lane string) {
	lighter := q.catchingUp(lane)
	if lighter == nil {
		return
	}
	timer := time.NewTimer(throttleMax)
	defer timer.Stop()
	for lighter != nil {
		select {
		case <-lighter:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
		lighter = q.catchingUp(lane)
	}
}

// catchingUp returns what is closed when the lane has taken more of its messages in memory, if it is worth
// waiting for that.
func (q *Queue) catchingUp(lane string) (lighter <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lane(lane)
	if l.weight <= q.o.Memory/2 && len(l.inMemory) <= throttleAt || time.Since(l.taken) >= throttleMax {
		return nil
	}
	if l.lighter == nil {
		l.lighter = make(chan struct{})
	}
	return l.lighter
}
