package postgres

import (
	"sync"
	"time"

	"mailwhy/relay/spool/postgres/database"
)

// undoFor is for how long a lease or a claim in doubt is undone again and again. Its transaction may still be
// under way at a server that was frozen, or overloaded, while the one that undoes it comes over another
// connection and finds nothing: so once is not enough.
const undoFor = 30 * time.Second

// doubts are the leases and claims of which it is not known whether they were made: nobody has them as long
// as this process lives.
type doubts struct {
	mu   sync.Mutex
	list []doubt
}

// doubt is one of them.
type doubt struct {
	inc    *incarnation
	lease  int64 // number of its batch; 0 for a claim
	claim  int64 // number of the claim; 0 for a lease
	forget time.Time
}

// inDoubt undoes a lease or a claim in its own time.
func (s *Spool) inDoubt(d doubt) {
	d.forget = time.Now().Add(undoFor)
	s.doubts.mu.Lock()
	s.doubts.list = append(s.doubts.list, d)
	s.doubts.mu.Unlock()
	s.undo(d)
}

// undoDoubts undoes again what is in doubt.
func (s *Spool) undoDoubts() {
	s.doubts.mu.Lock()
	var left []doubt
	for _, d := range s.doubts.list {
		if time.Now().Before(d.forget) {
			left = append(left, d)
		}
	}
	s.doubts.list = left
	s.doubts.mu.Unlock()
	for _, d := range left {
		s.undo(d)
	}
}

// undo has a lease or a claim undone.
func (s *Spool) undo(d doubt) {
	s.w.add(&operation{inc: d.inc, must: true, again: true, add: func(ch *database.Changes) {
		if d.lease != 0 {
			ch.Unleased = append(ch.Unleased, d.lease)
		} else {
			ch.Unclaimed = append(ch.Unclaimed, d.claim)
		}
	}})
}
