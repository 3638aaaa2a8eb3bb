package queue

import (
	"context"
	"strconv"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Lease is the right to settle a message.
type Lease struct {
	Token relay.Token
	ID    string
	Lane  string
	Seq   int64
	Size  int64
	// Where the content is: see spool.Record.
	File    string
	Mail    string
	Content int64

	Recipients int // of the message; 0 where it is read only after it was taken

	// Under Queue.mu.
	position Position      // zero for a message that had no slot
	deadline time.Time     // monotonic; zero is none
	settling bool          // its settlement is being written: it lapses no more
	row      int64         // in the run state
	ended    chan struct{} // closed when the lease is
}

// grant makes a lease of a message with that many recipients. q.mu is held.
func (q *Queue) grant(r *spool.Record, recipients int, deadline time.Time) *Lease {
	q.tokens++
	le := &Lease{
		Token: relay.Token(strconv.FormatUint(q.tokens, 36) + "-" + r.ID), ID: r.ID, Lane: r.Lane,
		Seq: r.Seq, Size: r.Size, File: r.File, Mail: r.Mail, Content: r.Content,
		Recipients: recipients, position: positionOf(r), deadline: deadline, row: q.o.Run.Add(r.ID),
		ended: make(chan struct{}),
	}
	q.leased[r.Seq] = le
	q.byToken[le.Token] = le
	q.sweepBy(deadline)
	return le
}

// end ends a lease; gone says that the message was removed with it. q.mu is held.
func (q *Queue) end(le *Lease, gone bool) {
	delete(q.leased, le.Seq)
	delete(q.byToken, le.Token)
	q.o.Run.Clear(le.row, gone)
	close(le.ended)
}

// sweepBy has lapse look at the leases at t, if not before. q.mu is held.
func (q *Queue) sweepBy(t time.Time) {
	if !t.IsZero() && t.Before(q.sweepAt) {
		q.sweepAt = t
	}
}

// lapse ends the leases whose deadline has passed; their messages are found again. q.mu is held.
func (q *Queue) lapse(now time.Time) {
	if now.Before(q.sweepAt) {
		return
	}
	q.sweepAt = now.Add(time.Hour)
	for _, le := range q.leased {
		switch {
		case le.settling || le.deadline.IsZero():
		case now.Before(le.deadline):
			q.sweepBy(le.deadline)
		default:
			q.end(le, false)
			q.o.Log.Warn("a lease lapsed", "id", le.ID, "lane", le.Lane)
			q.findAgain(le)
		}
	}
}

// ArriveLeased makes the lease of a record that was committed without a slot, for d from now.
func (q *Queue) ArriveLeased(r *spool.Record, recipients int, d time.Duration) relay.Token {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.grant(r, recipients, time.Now().Add(d)).Token
}

// findAgain has the message of a lease that ended found by the next scan. One that had no slot when it was
// leased may have got one since, so the scan begins with the lane. q.mu is held.
func (q *Queue) findAgain(le *Lease) {
	l := q.lanes[le.Lane]
	if l == nil {
		return
	}
	l.stepBack(le.position)
	if le.position.Slot == 0 {
		l.known = false
	}
}

// Record is the message of a lease, as far as the lease knows it.
func (le *Lease) Record() *spool.Record {
	return &spool.Record{
		Seq: le.Seq, ID: le.ID, Lane: le.Lane, Size: le.Size, File: le.File, Mail: le.Mail,
		Content: le.Content,
	}
}

// current returns the lease of a token that is not being settled. q.mu is held.
func (q *Queue) current(t relay.Token) (*Lease, error) {
	le := q.byToken[t]
	if le == nil || le.settling {
		return nil, relay.ErrStaleLease
	}
	return le, nil
}

// Leased is how many messages are leased.
func (q *Queue) Leased() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(len(q.leased))
}

// IsLeased reports whether the message seq is leased.
func (q *Queue) IsLeased(seq int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leased[seq] != nil
}

// Extend moves the deadline of a lease to d from now.
func (q *Queue) Extend(t relay.Token, d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	le, err := q.current(t)
	if err != nil {
		return err
	}
	le.deadline = time.Now().Add(d)
	q.sweepBy(le.deadline)
	return nil
}

// Release ends a lease; its message is found again.
func (q *Queue) Release(t relay.Token) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	le, err := q.current(t)
	if err != nil {
		return err
	}
	q.end(le, false)
	q.findAgain(le)
	return nil
}

// BeginSettle returns the lease of a token, which lapses no more until EndSettle or AbortSettle.
func (q *Queue) BeginSettle(t relay.Token) (*Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	le, err := q.current(t)
	if err == nil {
		le.settling = true
	}
	return le, err
}

// AbortSettle takes back that a lease is being settled.
func (q *Queue) AbortSettle(le *Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	le.settling = false
}

// EndSettle ends a lease whose settlement is durable. r is the message as it was stored; nil when it was
// removed.
func (q *Queue) EndSettle(le *Lease, r *spool.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(le, r == nil)
	if l := q.lanes[le.Lane]; l != nil && l.scanning {
		l.ended[le.Seq] = true
	}
	if r != nil {
		q.arrive(r)
		return
	}
	q.gone.Add(le.ID)
	q.contents.drop(le.ID)
}

// TakeForEdit leases a message without a deadline, if nobody has it; else it returns the other's lease.
func (q *Queue) TakeForEdit(r *spool.Record) (le, other *Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lapse(time.Now())
	if other = q.leased[r.Seq]; other != nil {
		return nil, other
	}
	le = q.grant(r, 0, time.Time{})
	q.lane(r.Lane).evict()
	return le, nil
}

// Reposition notes where the message of a lease stands, after it was read anew.
func (q *Queue) Reposition(le *Lease, r *spool.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	le.position = positionOf(r)
}

// Await waits for a lease to end, or for its deadline.
func (q *Queue) Await(ctx context.Context, le *Lease) error {
	q.mu.Lock()
	wait := time.Until(le.deadline)
	if le.deadline.IsZero() || le.settling {
		wait = time.Minute // it ends by a settlement
	}
	q.mu.Unlock()
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
