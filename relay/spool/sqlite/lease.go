package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"math"
	"strconv"
	"time"

	"mailwhy/relay"
)

// place is where a message stands in its lane's line.
type place struct{ turn, seq int64 }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.turn, q.turn), cmp.Compare(p.seq, q.seq))
}

// lease is the right to settle a message, held in memory: a spool has one process, and when that ends so do its leases.
type lease struct {
	token    relay.Token
	id       string
	lane     string
	seq      int64
	size     int64
	file     string
	place    place         // zero for a message that was not in the line
	deadline time.Time     // monotonic; zero is none
	settling bool          // its settlement is with the writer: it lapses no more
	slot     int64         // in marks
	ended    chan struct{} // closed when the lease is
}

// Lease implements relay.Spool. A message whose lease lapses stands in the line as before; next does not count it before.
func (s *Spool) Lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	if err := s.w.stuck(); err != nil {
		return nil, time.Time{}, err
	}
	l := s.line(q.Lane)
	select {
	case l.turnstile <- struct{}{}:
		defer func() { <-l.turnstile }()
	case <-ctx.Done():
		return nil, time.Time{}, context.Cause(ctx)
	}
	if err := s.lineUp(ctx, l, q.Now); err != nil {
		return nil, time.Time{}, err
	}
	leases, next, ok := s.leaseFresh(l, q)
	if !ok {
		var err error
		if leases, next, err = s.leaseLine(ctx, l, q); err != nil {
			return nil, time.Time{}, err
		}
	}
	due, _, err := s.waiting(l, nanos(q.Now))
	if err != nil {
		return leases, q.Now.Add(time.Second), nil // the leases are given, and must reach the caller
	}
	if wait := timeOf(due); due != never && (next.IsZero() || wait.Before(next)) {
		next = wait
	}
	return leases, next, nil
}

// leaseLine leases from the line, and returns when the first that stays in it is due.
func (s *Spool) leaseLine(ctx context.Context, l *line, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	from, worth := s.startScan(l)
	if !worth {
		return nil, time.Time{}, nil
	}
	found := s.scan(l, from, q.Max)
	messages, bad := decodeAll(&found.records)
	leases, next, early := s.handOut(l, found, messages, q)
	if err := found.err; err != nil {
		return nil, time.Time{}, err
	}
	if len(bad) > 0 {
		s.quarantineAll(ctx, bad)
	}
	if len(early) > 0 {
		s.sendBack(ctx, early) // those that are not written are found early again
	}
	if found.more {
		next = q.Now
	}
	return leases, next, nil
}

// scanned is what a scan found.
type scanned struct {
	records []*record
	end     place // of the last one that was looked at
	more    bool  // the line goes on
	err     error
}

// scanBytes bounds the contents that one scan reads, all in all.
const scanBytes = 1 << 20

// scan reads up to limit records that stand after from and are not leased, with their contents if these are small: to read
// them one by one would cost more than all the rest.
func (s *Spool) scan(l *line, from place, limit int) (found scanned) {
	found.err = s.read(func(c *conn) error {
		found = scanned{end: from}
		return c.query(func(row []driver.Value) error {
			r := new(record)
			if err := r.scan(row); err != nil {
				return err
			}
			leased := s.isLeased(r.seq)
			if !leased && len(found.records) >= limit {
				found.more = true
				return errStop
			}
			found.end = place{r.turn, r.seq}
			if !leased {
				found.records = append(found.records, r)
			}
			return nil
		}, "SELECT "+columnsAndContent+" FROM message"+
			" WHERE lane=?2 AND turn>=?3 AND (turn, seq) > (?3, ?4) ORDER BY turn, seq",
			int64(scanBytes/max(limit, 1)), l.name, from.turn, from.seq)
	})
	return found
}

// decodeAll restores the messages of records; those that are damaged are taken out of them.
func decodeAll(records *[]*record) (messages []*relay.Message, bad []damagedRecord) {
	whole := (*records)[:0]
	for _, r := range *records {
		m, err := r.decode()
		if err != nil {
			bad = append(bad, damagedRecord{r, err.Error()})
			continue
		}
		whole, messages = append(whole, r), append(messages, m)
	}
	*records = whole
	return messages, bad
}

// earlyBy is how far ahead of Now a message in the line may be due without losing its place: it was put there after
// the caller looked at the clock, or the clock was set back a little.
const earlyBy = time.Minute

// handOut makes leases of what a scan found, and ends the scan. Some messages turn out not to be due yet: the first of those
// that keep their place is due at soon, and early have to be sent back.
func (s *Spool) handOut(l *line, found scanned, messages []*relay.Message, q relay.LeaseQuery) (
	leases []relay.Lease, soon time.Time, early []int64) {
	deadline := time.Now().Add(q.Until.Sub(q.Now))
	far := farAhead(q.Now, s.o.MaxDelay)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer l.endScan()
	if found.err != nil {
		return nil, time.Time{}, nil
	}
	l.cursor, l.more = found.end, found.more
	for i, r := range found.records {
		if s.leased[r.seq] != nil || l.ended[r.seq] {
			continue // settled, or taken by Edit, since the scan began
		}
		if r.due > nanos(q.Now) && r.due <= far {
			if due := timeOf(r.due); due.Sub(q.Now) > earlyBy {
				early = append(early, r.seq)
			} else if l.stepBack(place{r.turn, r.seq}); soon.IsZero() || due.Before(soon) {
				soon = due
			}
			continue
		}
		normalise(messages[i], q.Now, s.o.MaxDelay)
		le := s.grant(r, deadline)
		l.virtual = max(l.virtual, r.turn)
		s.cache.addRead(r)
		leases = append(leases, relay.Lease{Token: le.token, Message: messages[i]})
	}
	return leases, soon, early
}

// grant makes a lease. s.mu is held.
func (s *Spool) grant(r *record, deadline time.Time) *lease {
	s.tokens++
	le := &lease{
		token: relay.Token(strconv.FormatUint(s.tokens, 36) + "-" + r.id), id: r.id, lane: r.lane,
		seq: r.seq, size: r.size, file: r.file, place: place{r.turn, r.seq}, deadline: deadline,
		slot: s.marks.add(r.id), ended: make(chan struct{}),
	}
	s.leased[r.seq] = le
	s.byToken[le.token] = le
	s.sweepBy(deadline)
	return le
}

// end ends a lease; gone says that the message was removed with it. s.mu is held.
func (s *Spool) end(le *lease, gone bool) {
	delete(s.leased, le.seq)
	delete(s.byToken, le.token)
	s.marks.clear(le.slot, gone)
	close(le.ended)
}

// sweepBy has lapse look at the leases at t, if not before. s.mu is held.
func (s *Spool) sweepBy(t time.Time) {
	if !t.IsZero() && t.Before(s.sweepAt) {
		s.sweepAt = t
	}
}

// lapse ends the leases whose deadline has passed; their messages are found again. s.mu is held.
func (s *Spool) lapse(now time.Time) {
	if now.Before(s.sweepAt) {
		return
	}
	s.sweepAt = now.Add(time.Hour)
	for _, le := range s.leased {
		switch {
		case le.settling || le.deadline.IsZero():
		case now.Before(le.deadline):
			s.sweepBy(le.deadline)
		default:
			s.end(le, false)
			s.o.Log.Warn("a lease lapsed", "id", le.id, "lane", le.lane)
			if at := s.lines[le.lane]; at != nil && le.place.turn != 0 {
				at.stepBack(le.place)
			}
		}
	}
}

// isLeased reports whether the message seq is leased.
func (s *Spool) isLeased(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leased[seq] != nil
}

// Extend implements relay.Spool.
func (s *Spool) Extend(_ context.Context, t relay.Token, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	le := s.byToken[t]
	if le == nil || le.settling {
		return relay.ErrStaleLease
	}
	le.deadline = time.Now().Add(until.Sub(s.o.Now()))
	s.sweepBy(le.deadline)
	return nil
}

// Release implements relay.Releaser.
func (s *Spool) Release(t relay.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	le := s.byToken[t]
	if le == nil || le.settling {
		return relay.ErrStaleLease
	}
	s.end(le, false)
	if l := s.lines[le.lane]; l != nil && le.place.turn != 0 {
		l.stepBack(le.place)
	}
	return nil
}

// farAhead is the due time beyond which none can lie, unless the clock was set back.
func farAhead(now time.Time, longest time.Duration) int64 {
	n := nanos(now)
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
