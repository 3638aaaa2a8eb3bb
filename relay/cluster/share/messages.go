package share

import (
	"time"

	"mailwhy/relay"
)

// nearly makes up for the rounding of sums.
const nearly = 1e-9

// grant gives a member messages: its even part of what may begin, after those who are due before it. Those
// who take less leave the rest to the others.
func (s *State) grant(now time.Time, me *Use, q *relay.ShareQuery, share *relay.Share) {
	switch {
	case q.Ask <= 0 || me.Allowed <= 0:
		return
	case perSecond(q) == 0:
		share.Messages = q.Ask
		me.Open += q.Ask
		me.Granted = now
		return
	}
	asking, ahead := s.asking(now, me)
	part := max(1, int(burst(q))/asking)
	want := min(q.Ask, part)
	reserved := 0
	for _, u := range ahead {
		reserved += min(u.Ask, part)
	}
	free := int(s.Tokens+nearly) - reserved
	if q.Exact {
		free = min(free, q.Messages-s.used()-reserved)
	}
	// Many at a time, or few after a while: not each message by itself.
	if free >= want || free > 0 && now.Sub(me.Granted) >= soon {
		n := min(want, free)
		share.Messages = n
		s.Tokens = max(s.Tokens-float64(n), 0)
		me.Open += n
		me.Granted = now
		if me.Next.Before(now) {
			me.Next = now
		}
		me.Next = me.Next.Add(time.Duration(float64(n*asking) / perSecond(q) * float64(time.Second)))
		reserved, want = 0, min(q.Ask-n, part)
	}
	if want > 0 {
		share.Again = min(share.Again, max(s.untilFree(now, reserved+want, q), time.Millisecond))
	}
	if want > 1 {
		share.Again = min(share.Again, soon)
	}
}

// asking is how many members ask for messages, and those of them that come before me.
func (s *State) asking(now time.Time, me *Use) (n int, ahead []*Use) {
	for _, u := range s.Members {
		if u.Ask <= 0 || u.Allowed <= 0 || now.Sub(u.Seen) >= patience {
			continue
		}
		n++
		if u != me && u.Next.Before(me.Next) && now.Before(u.Due.Add(late)) {
			ahead = append(ahead, u)
		}
	}
	return n, ahead
}

// used is how many messages of an exact rate are under way, or ended within its time.
func (s *State) used() (n int) {
	for _, u := range s.Members {
		n += u.Open
	}
	for _, e := range s.Ended {
		n += e.Messages
	}
	return n
}

// untilFree is how long until n messages may begin, if that depends on time alone.
func (s *State) untilFree(now time.Time, n int, q *relay.ShareQuery) time.Duration {
	wait := time.Duration((float64(n) - s.Tokens) / perSecond(q) * float64(time.Second))
	if !q.Exact {
		return wait
	}
	over := s.used() + n - q.Messages
	for i := 0; i < len(s.Ended) && over > 0; i++ {
		over -= s.Ended[i].Messages
		wait = max(wait, s.Ended[i].At.Add(q.Per).Sub(now))
	}
	if over > 0 { // too many are under way: nobody knows for how long
		wait = max(wait, soon)
	}
	return wait
}
