package queue

import (
	"log/slog"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/runstate"
)

// Options configure a Queue. All fields are required.
type Options struct {
	MaxDelay time.Duration // the longest time for which a message can be put off
	Memory   int64         // bytes of new messages that are kept for a lane, and of contents; 0: none
	Run      *runstate.File
	Now      func() time.Time // wall clock
	Log      *slog.Logger
}

// Queue holds the lanes and the leases of a spool. It is safe for concurrent use.
type Queue struct {
	o Options

	mu       sync.Mutex
	lanes    map[string]*Lane
	leased   map[int64]*Lease // by seq
	byToken  map[relay.Token]*Lease
	tokens   uint64
	sweepAt  time.Time // when the leases are looked through for those that lapsed
	gone     *Recent   // ids of messages that were removed
	contents *cache
}

// New makes a queue in which nothing waits.
func New(o Options) *Queue {
	return &Queue{
		o: o, lanes: map[string]*Lane{}, leased: map[int64]*Lease{}, byToken: map[relay.Token]*Lease{},
		gone: NewRecent(RecentMax), contents: newCache(o.Memory),
	}
}

// Lane returns the lane of a name.
func (q *Queue) Lane(name string) *Lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lane(name)
}

// lane returns the lane of a name. q.mu is held.
func (q *Queue) lane(name string) *Lane {
	l := q.lanes[name]
	if l == nil {
		l = newLane(q, name)
		q.lanes[name] = l
	}
	return l
}

// GiveSlot gives a record its slot if it is due now, else none.
func (q *Queue) GiveSlot(r *spool.Record) {
	r.Slot = 0
	if r.Due > spool.Nanos(q.o.Now()) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r.Slot = q.lane(r.Lane).fair.Next(r.Sender)
}

// Arrive tells the lanes of records that were committed, or found to be due.
func (q *Queue) Arrive(records ...*spool.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range records {
		q.arrive(r)
	}
}

// arrive tells the lane of a record. q.mu is held.
func (q *Queue) arrive(r *spool.Record) {
	l := q.lane(r.Lane)
	if r.Slot != 0 {
		l.stepBack(positionOf(r))
	} else {
		l.wait = min(l.wait, r.Due)
	}
}

// ForgetWaits has the lanes look for their waiting messages anew.
func (q *Queue) ForgetWaits() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lanes {
		l.known = false
	}
}

// EvictAll has all lanes look up their messages in the database.
func (q *Queue) EvictAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lanes {
		l.evict()
	}
}

// Restore tells a lane, when the spool is opened, that stored messages with slots wait in it: the first of
// them has the slot head, and newest has the newest slot of each sender, as far as these are known.
func (q *Queue) Restore(name string, head int64, newest map[string]int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lane(name)
	l.more = true
	l.fair.Leased(head - 1)
	for sender, slot := range newest {
		l.fair.Had(sender, slot)
	}
}

// HasGone reports whether the message of this id was here lately and has gone.
func (q *Queue) HasGone(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gone.Has(id)
}

// Forget drops what is kept of messages that have gone, but their ids.
func (q *Queue) Forget(ids []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		q.gone.Add(id)
		q.contents.drop(id)
	}
}

// Content returns the content of a message if it is in memory. It must not be written to.
func (q *Queue) Content(id string) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.contents.get(id)
}

// KeepContents keeps the contents that were read with records, as far as they are whole: they are about to
// be asked for.
func (q *Queue) KeepContents(records []*spool.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range records {
		q.contents.addRead(r)
	}
}

// DropContent drops the content of a message from memory.
func (q *Queue) DropContent(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.contents.drop(id)
}
