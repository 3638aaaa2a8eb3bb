package share

import (
	"slices"
	"time"

	"mailwhy/relay"
)

// claim is a member that wants connections, and how many of them it gets.
type claim struct {
	id   string
	use  *Use
	gets int
}

// divide gives a member its connections: its even part, as far as the others have left that free.
func (s *State) divide(now time.Time, me *Use, q *relay.ShareQuery, share *relay.Share) {
	claims := s.claims(now)
	left := q.Connections
	for ; left > 0; left-- {
		next := nextClaim(now, q, claims)
		if next == nil {
			break
		}
		next.gets++
	}
	mine, short := 0, false
	for i := range claims {
		c := &claims[i]
		if c.use == me {
			mine = c.gets
		} else if c.gets > max(c.use.Allowed, c.use.Held) {
			short = true
		}
	}
	due := mine
	if !short {
		due = max(mine, min(me.Held, mine+left)) // idle connections that nobody else wants
	}
	allowed := max(min(due, q.Connections-s.others(me)), 0)
	if (allowed > 0) != (me.Allowed > 0) {
		me.Since = now
	}
	me.Allowed = allowed
	share.Connections = allowed
	switch {
	case allowed < mine:
		share.Again = soon
	case allowed > 0 && q.Held <= allowed:
		if left := turnOf(me, q) - now.Sub(me.Since); left > 0 && s.waits(now, me) {
			share.Again = min(share.Again, max(left, soon))
		}
	}
}

// claims are the members that want connections.
func (s *State) claims(now time.Time) (list []claim) {
	for id, u := range s.Members {
		if u.Wanted > 0 && now.Sub(u.Seen) < patience {
			list = append(list, claim{id: id, use: u})
		}
	}
	slices.SortFunc(list, func(a, b claim) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// others is how many connections the other members have, or may have.
func (s *State) others(me *Use) (n int) {
	for _, u := range s.Members {
		if u != me {
			n += max(u.Allowed, u.Held)
		}
	}
	return n
}

// waits reports whether a member other than me has no connection and wants one.
func (s *State) waits(now time.Time, me *Use) bool {
	for _, u := range s.Members {
		if u != me && u.Wanted > 0 && u.Allowed == 0 && u.Held == 0 && now.Sub(u.Seen) < patience {
			return true
		}
	}
	return false
}

// nextClaim is the claim that gets the next connection: of those that have the fewest, the first in turn. It
// is nil when all have what they want.
func nextClaim(now time.Time, q *relay.ShareQuery, claims []claim) (next *claim) {
	for i := range claims {
		c := &claims[i]
		if c.gets < c.use.Wanted && (next == nil || before(now, q, c, next)) {
			next = c
		}
	}
	return next
}

// before reports whether the claim a comes before b.
func before(now time.Time, q *relay.ShareQuery, a, b *claim) bool {
	if a.gets != b.gets {
		return a.gets < b.gets
	}
	if a.gets > 0 { // each has one: who holds more keeps it
		if x, y := a.use.Allowed > a.gets, b.use.Allowed > b.gets; x != y {
			return x
		}
	}
	x, y := rank(now, q, a.use), rank(now, q, b.use)
	switch {
	case x != y:
		return x < y
	case x == pastTurn:
		return a.use.Since.After(b.use.Since)
	}
	return a.use.Since.Before(b.use.Since)
}

// The ranks of those who want a connection.
const (
	inTurn   = iota // it has one, and its turn goes on
	waiting         // it has none
	pastTurn        // it has had one for its turn
)

func rank(now time.Time, q *relay.ShareQuery, u *Use) int {
	switch {
	case u.Allowed == 0:
		return waiting
	case now.Sub(u.Since) < turnOf(u, q):
		return inTurn
	}
	return pastTurn
}

// turnOf is how long a member keeps its connections while others have none.
func turnOf(u *Use, q *relay.ShareQuery) time.Duration {
	if perSecond(q) > 0 && !u.Granted.After(u.Since) {
		return emptyTurn
	}
	return turn
}
