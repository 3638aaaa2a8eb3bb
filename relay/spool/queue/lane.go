package queue

import (
	"cmp"
	"context"
	"math"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Position is where a message stands in its lane.
type Position struct{ Slot, Seq int64 }

func positionOf(r *spool.Record) Position { return Position{r.Slot, r.Seq} }

func (p Position) compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Slot, o.Slot), cmp.Compare(p.Seq, o.Seq))
}

// Lane is the queue of one lane. It is safe for concurrent use.
type Lane struct {
	Name string
	q    *Queue
	busy chan struct{} // held by the one caller that leases

	// Under Queue.mu.
	cursor   Position // all before it, and it, is leased or gone
	fair     *Fair
	more     bool          // the database may have something after the cursor that is not leased
	inMemory []inMemory    // in order; see there
	weight   int64         // bytes of inMemory
	taken    time.Time     // when one of inMemory was last leased
	lighter  chan struct{} // closed when some of inMemory are gone; nil when nobody waits for that
	wait     int64         // earliest due time of a message without a slot; never when there is none
	known    bool          // wait is right
	clock    int64         // now of the last Waiting
	scanning bool
	ended    map[int64]bool // leases that ended during the scan, whose records it may have read before
	back     *Position      // where the cursor must be moved back to when the scan ends
}

func newLane(q *Queue, name string) *Lane {
	return &Lane{
		Name: name, q: q, busy: make(chan struct{}, 1), fair: NewFair(), clock: spool.Never,
	}
}

// Enter waits until nobody else leases from the lane. The caller must call leave when it has leased.
func (l *Lane) Enter(ctx context.Context) (leave func(), err error) {
	select {
	case l.busy <- struct{}{}:
		return func() { <-l.busy }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Next gives out the next slot of a sender.
func (l *Lane) Next(sender string) int64 {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	return l.fair.Next(sender)
}

// stepBack makes sure that the message at p is found by the next scan, and so are those in memory. q.mu is
// held.
func (l *Lane) stepBack(p Position) {
	if len(l.inMemory) > 0 && l.inMemory[0].position().compare(p) < 0 {
		p = l.inMemory[0].position()
	}
	l.inMemory = nil
	l.lighten(l.weight)
	p.Seq--
	l.more = true
	if l.scanning && (l.back == nil || p.compare(*l.back) < 0) {
		l.back = &p
	}
	if p.compare(l.cursor) < 0 {
		l.cursor = p
	}
}

// StartScan begins a scan of the stored messages and says from where, unless nothing can be found. HandOut
// ends it.
func (l *Lane) StartScan() (from Position, worth bool) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.q.lapse(time.Now())
	if !l.more {
		return l.cursor, false
	}
	l.scanning, l.back = true, nil
	l.ended = map[int64]bool{}
	return l.cursor, true
}

// endScan ends a scan, after the cursor was set. q.mu is held.
func (l *Lane) endScan() {
	l.more = l.more || l.back != nil
	if l.back != nil && l.back.compare(l.cursor) < 0 {
		l.cursor = *l.back
	}
	l.scanning, l.ended, l.back = false, nil, nil
}

// Scanned is what a scan found.
type Scanned struct {
	Records  []*spool.Record
	Messages []*relay.Message // theirs
	End      Position         // of the last one that was looked at
	More     bool             // there are more after it
	Failed   bool             // nothing is known
}

// earlyBy is how far ahead of now a message with a slot may be due without losing its slot: it was put
// there after the caller looked at the clock, or the clock was set back a little.
const earlyBy = time.Minute

// HandOut makes leases of what a scan found, and ends the scan. Some messages turn out not to be due yet:
// the first of those that keep their slot is due at soon, and early have to lose theirs.
func (l *Lane) HandOut(found Scanned, lq relay.LeaseQuery) (leases []relay.Lease, soon time.Time,
	early []int64) {
	q := l.q
	deadline := time.Now().Add(lq.For)
	far := FarAhead(lq.Now, q.o.MaxDelay)
	q.mu.Lock()
	defer q.mu.Unlock()
	defer l.endScan()
	if found.Failed {
		return nil, time.Time{}, nil
	}
	l.cursor, l.more = found.End, found.More
	for i, r := range found.Records {
		if q.leased[r.Seq] != nil || l.ended[r.Seq] {
			continue // settled, or taken by an edit, since the scan began
		}
		if r.Due > spool.Nanos(lq.Now) && r.Due <= far {
			if due := spool.TimeOf(r.Due); due.Sub(lq.Now) > earlyBy {
				early = append(early, r.Seq)
			} else if l.stepBack(positionOf(r)); soon.IsZero() || due.Before(soon) {
				soon = due
			}
			continue
		}
		normalise(found.Messages[i], lq.Now, q.o.MaxDelay)
		le := q.grant(r, len(found.Messages[i].Recipients), deadline)
		l.fair.Leased(r.Slot)
		q.contents.addRead(r)
		leases = append(leases, relay.Lease{Token: le.Token, Message: found.Messages[i]})
	}
	return leases, soon, early
}

// Waiting returns when the earliest message of the lane without a slot is due; never when there is none.
// What is not known look reads from the database. jumped says that the clock was set back since the last
// time, or that this is the first.
func (l *Lane) Waiting(now int64, look func() (due int64, ok bool, err error)) (due int64, jumped bool,
	err error) {
	l.q.mu.Lock()
	jumped = now < l.clock
	l.clock = now
	due = l.wait
	known := l.known
	if !known {
		l.wait, l.known = spool.Never, true // what arrives during the query lowers it
	}
	l.q.mu.Unlock()
	if known {
		return due, jumped, nil
	}
	due, ok, err := look()
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if err != nil {
		l.known = false
	} else if ok {
		l.wait = min(l.wait, due)
	}
	return l.wait, jumped, err
}

// FarAhead is the due time beyond which none can lie, unless the clock was set back.
func FarAhead(now time.Time, longest time.Duration) int64 {
	n := spool.Nanos(now)
	if n > math.MaxInt64-int64(longest) {
		return math.MaxInt64 - 1
	}
	return n + int64(longest)
}

// normalise makes recipients due whose next attempt lies so far ahead that the clock must have been set back.
func normalise(m *relay.Message, now time.Time, longest time.Duration) {
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.Waiting() && r.NextAttempt.Sub(now) > longest {
			r.NextAttempt = now
		}
	}
}
