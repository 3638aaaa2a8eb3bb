// Package share divides what an account allows among the members of a cluster: the rules behind relay.Shares,
// which all engines have in common. It is pure: an engine keeps a State for each account, answers one query
// after the other under a lock on it (a mutex, a row), and says what time it is and who is dead.
//
// What always holds, whatever was lost or repeated on the way: a member is counted with all that it was
// granted until it says itself, or it is dead, that it has less. So the members together never have more than
// the limit.
package share

import (
	"time"

	"mailwhy/relay"
)

// State is how an account is divided. The zero State is an account that nobody has used. Its JSON form is
// what engines may store.
type State struct {
	Members map[string]*Use `json:"members,omitempty"`
	Ended   []Slot          `json:"ended,omitempty"` // of an exact rate, oldest first
	Tokens  float64         `json:"tokens"`          // messages that may begin, as far as the bucket goes
	Filled  time.Time       `json:"filled"`          // when Tokens was counted
}

// Use is what a member has of an account, and wants.
type Use struct {
	Allowed int       `json:"allowed,omitempty"` // connections that it was told it may have
	Held    int       `json:"held,omitempty"`    // connections that it had when it last asked
	Wanted  int       `json:"wanted,omitempty"`
	Open    int       `json:"open,omitempty"`  // messages granted and not ended
	Ended   int64     `json:"ended,omitempty"` // as in the last query
	Ask     int       `json:"ask,omitempty"`
	Since   time.Time `json:"since"`   // when it got its first connection, or began to wait for one
	Granted time.Time `json:"granted"` // when it was last granted a message
	Next    time.Time `json:"next"`    // when it is due for the next one, at an even part of the rate
	Seen    time.Time `json:"seen"`    // its last query
	Due     time.Time `json:"due"`     // when it was told to ask again
}

// Slot is a number of messages that ended, the last of them at that time.
type Slot struct {
	At       time.Time `json:"at"`
	Messages int       `json:"n"`
}

// The constants of the division.
const (
	again     = time.Second            // the longest time after which a member asks again
	soon      = 200 * time.Millisecond // ... when its connection is about to be given up by others
	patience  = 3 * again              // without a query for so long a member wants nothing more
	late      = 300 * time.Millisecond // after it was to ask, a member keeps its place no longer
	turn      = 5 * time.Second        // for which a connection is kept while others wait for one
	emptyTurn = 30 * time.Second       // ... before a message was granted
	forget    = time.Hour              // after which a dead member is forgotten
	slots     = 64                     // in which messages that ended are remembered
)

// Died is when a member was taken for dead; ok is false while it lives.
type Died func(member string) (at time.Time, ok bool)

// Take answers a query of a live member. Until of the share is the engine's to fill in.
func (s *State) Take(now time.Time, member string, died Died, q *relay.ShareQuery) relay.Share {
	if s.Members == nil {
		s.Members = map[string]*Use{}
	}
	s.fill(now, q)
	s.bury(now, died, q)
	me := s.Members[member]
	if me == nil {
		me = &Use{Since: now}
		s.Members[member] = me
	}
	s.account(now, me, q)
	if q.Leaves() {
		delete(s.Members, member)
		return relay.Share{}
	}
	me.Seen, me.Due = now, time.Time{}
	share := relay.Share{Again: again}
	s.divide(now, me, q, &share)
	s.grant(now, me, q, &share)
	me.Due = now.Add(share.Again)
	return share
}

// Leave ends the part of a member that says goodbye: what it still has under way ends now.
func (s *State) Leave(now time.Time, member string) {
	if u := s.Members[member]; u != nil {
		s.end(now, u.Open, 0)
		delete(s.Members, member)
	}
}

// Forget removes what is of no more use, and reports whether nothing is left that an engine must keep, at an
// exact rate over at most per.
func (s *State) Forget(now time.Time, per time.Duration) bool {
	s.expire(now, per)
	return len(s.Members) == 0 && len(s.Ended) == 0
}

// bury ends what dead members had. Their counts are kept for a while, for a member that was only out of reach
// goes on with them.
func (s *State) bury(now time.Time, died Died, q *relay.ShareQuery) {
	for id, u := range s.Members {
		at, dead := died(id)
		switch {
		case !dead:
		case now.Sub(u.Seen) > forget:
			delete(s.Members, id)
		default:
			if q.Exact {
				s.end(at, u.Open, q.Messages)
			}
			*u = Use{Ended: u.Ended + int64(u.Open), Since: now, Seen: u.Seen}
		}
	}
}

// account takes in what a member says that it has.
func (s *State) account(now time.Time, me *Use, q *relay.ShareQuery) {
	ended := max(q.Ended-me.Ended, 0)
	if q.Exact {
		s.end(now, int(ended), q.Messages)
	}
	if unused := int64(me.Open-q.Begun) - ended; unused > 0 {
		s.Tokens = min(s.Tokens+float64(unused), burst(q))
	}
	me.Open, me.Ended = q.Begun, max(me.Ended, q.Ended)
	me.Held, me.Wanted, me.Ask = q.Held, q.Wanted, q.Ask
}

// end counts n messages as ended at that time, of an account that allows most.
func (s *State) end(at time.Time, n, most int) {
	if n <= 0 {
		return
	}
	last := len(s.Ended) - 1
	if last >= 0 && at.Before(s.Ended[last].At) {
		at = s.Ended[last].At
	}
	if size := (most + slots - 1) / slots; last >= 0 && s.Ended[last].Messages+n <= size {
		s.Ended[last] = Slot{at, s.Ended[last].Messages + n}
		return
	}
	s.Ended = append(s.Ended, Slot{at, n})
}

// expire drops what ended long enough ago. What ended in the future did so before the clock was set back.
func (s *State) expire(now time.Time, per time.Duration) {
	for len(s.Ended) > 0 && now.Sub(s.Ended[0].At) >= per {
		s.Ended = s.Ended[1:]
	}
	for i := range s.Ended {
		if s.Ended[i].At.After(now) {
			s.Ended[i].At = now
		}
	}
}

// perSecond is a rate in messages a second; 0 when there is no bound.
func perSecond(q *relay.ShareQuery) float64 {
	if q.Messages <= 0 || q.Per <= 0 {
		return 0
	}
	return float64(q.Messages) / q.Per.Seconds()
}

// burst is how many messages the bucket holds.
func burst(q *relay.ShareQuery) float64 { return max(1, perSecond(q)) }

// fill fills the bucket.
func (s *State) fill(now time.Time, q *relay.ShareQuery) {
	if s.Filled.IsZero() {
		s.Tokens = burst(q)
	}
	if since := now.Sub(s.Filled).Seconds(); since > 0 && !s.Filled.IsZero() {
		s.Tokens += since * perSecond(q)
	}
	s.Tokens = min(s.Tokens, burst(q))
	s.Filled = now
	s.expire(now, q.Per)
}
