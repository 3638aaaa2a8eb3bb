package sqlite

import (
	"context"
	"database/sql/driver"
	"time"
)

// line is the order in which the messages of a lane are leased: fair between senders, and in time order for each.
//
// A message that is due has a turn, a number; the line is the index on it. A message's turn is one more than the
// greater of its sender's newest turn and the turn that was leased last. So the first message of a sender goes next to
// the head of the line, however long the line of another sender is, and each sender's own follow one another. This is
// start-time fair queueing (Goyal, Vin, Cheng 1996) with messages of equal weight. It needs the newest turn of those senders only
// whose line is ahead of the last turn; the map is bounded, and what is forgotten costs some fairness, nothing else.
//
// A message that is not due yet has no turn and stands in the index on its due time; lineUp gives out turns as
// they become due. A scan goes on where the last one ended, so leased messages are not passed over again and again.
// Whatever comes to stand before that point (a lease that lapsed, a commit that was overtaken) moves the point back.
type line struct {
	name      string
	turnstile chan struct{} // held by the one caller of Lease that scans

	// Under Spool.mu.
	cursor   place            // all before it, and it, is leased or gone
	virtual  int64            // highest turn that was leased
	newest   map[string]int64 // of each sender, as far as it is above virtual
	more     bool             // the database may have something after the cursor that is not leased
	fresh    []fresh          // in order; see there
	weight   int64            // bytes of fresh
	taken    time.Time        // when one of fresh was last leased
	lighter  chan struct{}    // closed when some of fresh are gone; nil when nobody waits for that
	wait     int64            // earliest due time of a message without a turn; never when there is none
	known    bool             // wait is right
	clock    int64            // Now of the last lineUp
	scanning bool
	ended    map[int64]bool // leases that ended during the scan, whose records it may have read before
	back     *place         // where the cursor must be moved back to when the scan ends
}

// newestMax bounds the senders that a line remembers.
const newestMax = 4096

// lineUpMax is how many messages get their turn in one transaction.
const lineUpMax = 512

// line returns the line of a lane.
func (s *Spool) line(name string) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lineLocked(name)
}

func (s *Spool) lineLocked(name string) *line {
	l := s.lines[name]
	if l == nil {
		l = &line{name: name, turnstile: make(chan struct{}, 1), newest: map[string]int64{}, clock: never}
		s.lines[name] = l
	}
	return l
}

// next gives out the next turn of a sender. Spool.mu is held.
func (l *line) next(sender string) int64 {
	turn := max(l.virtual, l.newest[sender]) + 1
	if _, ok := l.newest[sender]; !ok && len(l.newest) >= newestMax {
		l.forget()
	}
	l.newest[sender] = turn
	return turn
}

// forget drops the senders that are least ahead, until half of the room is free.
func (l *line) forget() {
	for ahead := int64(0); len(l.newest) > newestMax/2; ahead = 2*ahead + 1 {
		for sender, turn := range l.newest {
			if turn <= l.virtual+ahead {
				delete(l.newest, sender)
			}
		}
	}
}

// stepBack makes sure that the message at p is found by the next scan, and so are the fresh ones. Spool.mu is held.
func (l *line) stepBack(p place) {
	if len(l.fresh) > 0 && l.fresh[0].place().compare(p) < 0 {
		p = l.fresh[0].place()
	}
	l.fresh = nil
	l.lighten(l.weight)
	p.seq--
	l.more = true
	if l.scanning && (l.back == nil || p.compare(*l.back) < 0) {
		l.back = &p
	}
	if p.compare(l.cursor) < 0 {
		l.cursor = p
	}
}

// startScan begins a scan and says from where, unless nothing can be found.
func (s *Spool) startScan(l *line) (from place, worth bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lapse(time.Now())
	if !l.more {
		return l.cursor, false
	}
	l.scanning, l.back = true, nil
	l.ended = map[int64]bool{}
	return l.cursor, true
}

// endScan ends a scan, after the cursor was set. Spool.mu is held.
func (l *line) endScan() {
	l.more = l.more || l.back != nil
	if l.back != nil && l.back.compare(l.cursor) < 0 {
		l.cursor = *l.back
	}
	l.scanning, l.ended, l.back = false, nil, nil
}

// turn gives a record its place: in the line if it is due now, else none.
func (s *Spool) turn(r *record) {
	r.turn = 0
	if r.due > nanos(s.o.Now()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.turn = s.lineLocked(r.lane).next(r.sender)
}

// arrive tells the line of a record that was committed. Spool.mu is held.
func (s *Spool) arrive(r *record) {
	l := s.lineLocked(r.lane)
	if r.turn != 0 {
		l.stepBack(place{r.turn, r.seq})
	} else {
		l.wait = min(l.wait, r.due)
	}
}

// unknownWaits has the lines look for their waiting messages anew.
func (s *Spool) unknownWaits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		l.known = false
	}
}

// waiting returns when the earliest message of the line without a turn is due; never when there is none. jumped says that
// the clock was set back since the last time, or that this is the first.
func (s *Spool) waiting(l *line, now int64) (due int64, jumped bool, err error) {
	s.mu.Lock()
	jumped = now < l.clock
	l.clock = now
	due = l.wait
	known := l.known
	if !known {
		l.wait, l.known = never, true // what arrives during the query lowers it
	}
	s.mu.Unlock()
	if known {
		return due, jumped, nil
	}
	var ok bool
	err = s.read(func(c *conn) (err error) {
		due, ok, err = c.integer("SELECT due FROM message WHERE lane=? AND turn IS NULL AND due IS NOT NULL ORDER BY due LIMIT 1", l.name)
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		l.known = false
	} else if ok {
		l.wait = min(l.wait, due)
	}
	return l.wait, jumped, err
}

// lineUp gives turns to the messages of a lane that have become due since, and to those whose due time lies too far ahead;
// these there are only when the clock was set back.
func (s *Spool) lineUp(ctx context.Context, l *line, now time.Time) error {
	const waiting = "FROM message WHERE lane=?1 AND turn IS NULL AND due IS NOT NULL AND "
	far := farAhead(now, s.o.MaxDelay)
	due, jumped, err := s.waiting(l, nanos(now))
	if err != nil || due == never || due > nanos(now) && !jumped {
		return err
	}
	// By itself, since it may have the reserve of a full disk, and giving turns may not.
	if err := s.absorb(); err != nil {
		return err
	}
	var up []*record
	defer s.unknownWaits()
	return s.w.do(ctx, &operation{
		size: lineUpMax * 256,
		apply: func(t *tx) error {
			up = up[:0]
			collect := func(row []driver.Value) error {
				r := &record{lane: l.name}
				r.seq, _ = row[0].(int64)
				r.sender, _ = row[1].(string)
				up = append(up, r)
				return nil
			}
			err := t.query(collect, "SELECT seq, sender "+waiting+"due<=?2 ORDER BY due, seq LIMIT ?3", l.name, nanos(now), int64(lineUpMax))
			if err == nil && len(up) < lineUpMax {
				err = t.query(collect, "SELECT seq, sender "+waiting+"due>?2 ORDER BY due, seq LIMIT ?3", l.name, far, int64(lineUpMax))
			}
			if err != nil {
				return err
			}
			return s.giveTurns(t, l, up)
		},
		after: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, r := range up {
				s.arrive(r)
			}
		},
	})
}

// giveTurns writes the turns of records that have become due.
func (s *Spool) giveTurns(t *tx, l *line, up []*record) error {
	for _, r := range up {
		s.mu.Lock()
		r.turn = l.next(r.sender)
		s.mu.Unlock()
		if _, err := t.exec("UPDATE message SET turn=? WHERE seq=?", r.turn, r.seq); err != nil {
			return err
		}
	}
	return nil
}

// sendBack takes messages out of the line that turn out not to be due, because the clock was set back.
func (s *Spool) sendBack(ctx context.Context, seqs []int64) error {
	defer s.unknownWaits()
	return s.w.do(ctx, &operation{apply: func(t *tx) error {
		for _, seq := range seqs {
			if _, err := t.exec("UPDATE message SET turn=NULL WHERE seq=?", seq); err != nil {
				return err
			}
		}
		return nil
	}})
}

// restoreLines finds the lines of the database that was opened. Each line goes on behind its head; how far ahead the senders
// are is told by the end of the line, where those stand whose lines are long.
func (s *Spool) restoreLines(c *conn) error {
	lane, ok := "", true
	for ok {
		ok = false
		err := c.query(func(row []driver.Value) error {
			lane, ok = row[0].(string)
			return errStop
		}, "SELECT lane FROM message WHERE lane>? AND turn IS NOT NULL ORDER BY lane LIMIT 1", lane)
		if err != nil || !ok {
			return err
		}
		l := s.line(lane)
		l.more = true
		head, _, err := c.integer("SELECT turn FROM message WHERE lane=? AND turn IS NOT NULL ORDER BY turn LIMIT 1", lane)
		if err != nil {
			return err
		}
		l.virtual = max(l.virtual, head-1)
		err = c.query(func(row []driver.Value) error {
			sender, _ := row[0].(string)
			turn, _ := row[1].(int64)
			l.newest[sender] = max(l.newest[sender], turn)
			return nil
		}, "SELECT sender, turn FROM message WHERE lane=? AND turn IS NOT NULL ORDER BY turn DESC LIMIT 1000", lane)
		if err != nil {
			return err
		}
	}
	return nil
}
