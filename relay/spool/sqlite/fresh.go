package sqlite

import (
	"context"
	"slices"
	"time"

	"mailwhy/relay"
)

// fresh is a message that was just put, as it is to be leased: a lane that is not behind gets it from memory, and the
// database is written only.
//
// A line has fresh messages only while its more is false: then they are, but for leased ones, all that stands after the
// cursor. Whatever else changes the line's rows moves the cursor back (stepBack), and with that forgets them: the
// database has them all.
type fresh struct {
	r *record // without its texts, with the content unless that is in a file
	m *relay.Message
}

func (f *fresh) place() place { return place{f.r.turn, f.r.seq} }

// bytes is about how much memory it takes.
func (f *fresh) bytes() int64 { return int64(len(f.r.data)) + 1024 + 256*int64(len(f.m.Recipients)) }

// fresher is the message that a lease of m gives out: a copy, with the times as the database would give them.
func fresher(m *relay.Message) *relay.Message {
	c := *m
	c.Arrived = c.Arrived.Round(0)
	c.Recipients = slices.Clone(m.Recipients)
	for i := range c.Recipients {
		c.Recipients[i].NextAttempt = c.Recipients[i].NextAttempt.Round(0)
	}
	return &c
}

// arriveNew tells the line of a new message that was committed. Spool.mu is held.
func (s *Spool) arriveNew(r *record, m *relay.Message) {
	r.head, r.recipients = "", "" // a fresh record goes on living
	l := s.lineLocked(r.lane)
	if r.turn == 0 || l.more || s.leased[r.seq] != nil || !l.keep(fresh{r, m}, s.o.Limits.Cache) {
		s.arrive(r)
	}
}

// keepsUp reports whether a lane takes its messages from memory.
func (s *Spool) keepsUp(lane string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.lineLocked(lane).more
}

// keep puts f in its place among the fresh messages; false when they would take more than max bytes. Spool.mu is held.
func (l *line) keep(f fresh, max int64) bool {
	if l.weight+f.bytes() > max {
		return false
	}
	l.weight += f.bytes()
	at := len(l.fresh)
	for at > 0 && f.place().compare(l.fresh[at-1].place()) < 0 {
		at--
	}
	l.fresh = slices.Insert(l.fresh, at, f)
	return true
}

// takeFresh takes the first fresh message. Spool.mu is held.
func (l *line) takeFresh() fresh {
	f := l.fresh[0]
	l.fresh[0] = fresh{}
	l.fresh = l.fresh[1:]
	l.lighten(f.bytes())
	if f.place().compare(l.cursor) > 0 {
		l.cursor = f.place()
	}
	return f
}

// lighten notes that fresh messages of n bytes are gone. Spool.mu is held.
func (l *line) lighten(n int64) {
	l.weight -= n
	if l.lighter != nil {
		close(l.lighter)
		l.lighter = nil
	}
}

// brakeAt is how many fresh messages of a lane are enough: twice what it takes at once.
const brakeAt = 100

// brakeMax is how long a message waits at most for the lane to catch up.
const brakeMax = 10 * time.Millisecond

// brake lets a new message wait a moment while there are many fresh ones in its lane, or the memory for them is half full, and the
// lane is taking them. Clients, of which there may be many more than connections to the upstream, would otherwise run away from the
// lane, and all would have to be read back: in the end everything takes longer. A lane that does not keep up all the
// same soon has more than fits into the memory, and then nobody waits.
func (s *Spool) brake(ctx context.Context, lane string) {
	lighter := s.catchingUp(lane)
	if lighter == nil {
		return
	}
	timer := time.NewTimer(brakeMax)
	defer timer.Stop()
	for lighter != nil {
		select {
		case <-lighter:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
		lighter = s.catchingUp(lane)
	}
}

// catchingUp returns what is closed when the lane has taken more of its fresh messages, if it is worth waiting for that.
func (s *Spool) catchingUp(lane string) (lighter <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lineLocked(lane)
	if l.weight <= s.o.Limits.Cache/2 && len(l.fresh) <= brakeAt || time.Since(l.taken) >= brakeMax {
		return nil
	}
	if l.lighter == nil {
		l.lighter = make(chan struct{})
	}
	return l.lighter
}

// spill forgets the fresh messages: they are found by the next scan. Spool.mu is held.
func (l *line) spill() {
	if len(l.fresh) > 0 {
		l.stepBack(l.fresh[0].place())
	}
}

// spillAll has all lines looked up in the database.
func (s *Spool) spillAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		l.spill()
	}
}

// leaseFresh leases from memory, and returns when the first that stays is due. It reports false when that is not possible,
// and nothing was leased.
func (s *Spool) leaseFresh(l *line, q relay.LeaseQuery) (leases []relay.Lease, next time.Time, ok bool) {
	deadline := time.Now().Add(q.Until.Sub(q.Now))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lapse(time.Now())
	for len(l.fresh) > 0 && len(leases) < q.Max {
		due := l.fresh[0].r.due
		if due > nanos(q.Now) && timeOf(due).Sub(q.Now) > earlyBy {
			l.spill() // the clock was set back
			break
		}
		if due > nanos(q.Now) {
			return leases, timeOf(due), true // it was put after the caller looked at the clock
		}
		f := l.takeFresh()
		if s.leased[f.r.seq] != nil {
			continue
		}
		l.virtual = max(l.virtual, f.r.turn)
		if f.r.file == "" {
			s.cache.add(f.r.id, f.r.data)
			f.r.data = nil
		}
		l.taken = time.Now()
		leases = append(leases, relay.Lease{Token: s.grant(f.r, deadline).token, Message: f.m})
	}
	if l.more || len(l.fresh) > 0 {
		next = q.Now
	}
	return leases, next, !l.more || len(leases) > 0
}
