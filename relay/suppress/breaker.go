package suppress

import (
	"sync"
	"time"
)

// Breaker says when an upstream is not believed any more.
type Breaker struct {
	Share float64 // of a day's distinct recipients that it calls unknown
	Least int     // such recipients
}

// breakerFor is how long an upstream is not believed at most.
const breakerFor = 24 * time.Hour

// sampleMost is how many recipients of an upstream are counted one by one. Of more than that a part is,
// chosen by their hashes, which stands for all.
const sampleMost = 8192

// breakers watch what upstreams say: one that calls nearly everybody unknown is itself at fault, and no
// address is suppressed for what it says. The count begins anew each day of UTC, and after a trip; the
// breaker closes when the share is below half of the limit, and after a day at the latest. It is safe for
// concurrent use.
type breakers struct {
	mu sync.Mutex
	by map[string]*breaker
}

// breaker is that of one upstream.
type breaker struct {
	begun   time.Time
	tripped time.Time // zero: it is not
	seen    map[uint64]bool
	failing int
	shift   uint // one in 2^shift recipients is counted
}

// turn is a change of a breaker.
type turn int

const (
	steady turn = iota
	trips
	closes
)

// note counts a recipient, and says whether the upstream is believed and whether that has changed. since is
// when the count began that led to it.
func (b *breakers) note(name string, hash uint64, fails bool, now time.Time,
	set *Breaker) (believed bool, what turn, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[string]*breaker{}
	}
	br := b.by[name]
	if br == nil {
		br = &breaker{}
		b.by[name] = br
	}
	if br.tripped.IsZero() && !sameDay(br.begun, now) {
		br.begin(now)
	}
	br.count(hash, fails)
	since = br.begun
	if what = br.turn(now, set); what != steady {
		br.begin(now)
	}
	return br.tripped.IsZero(), what, since
}

// begin begins a count.
func (b *breaker) begin(now time.Time) {
	b.begun, b.seen, b.failing, b.shift = now, map[uint64]bool{}, 0, 0
}

// count counts a recipient once, as failing if it ever was.
func (b *breaker) count(hash uint64, fails bool) {
	if hash&(1<<b.shift-1) != 0 {
		return
	}
	was, known := b.seen[hash]
	b.seen[hash] = was || fails
	if fails && !was {
		b.failing++
	}
	if known || len(b.seen) <= sampleMost {
		return
	}
	b.shift++
	for h, failing := range b.seen {
		if h&(1<<b.shift-1) != 0 {
			delete(b.seen, h)
			if failing {
				b.failing--
			}
		}
	}
}

// turn trips or closes the breaker.
func (b *breaker) turn(now time.Time, set *Breaker) turn {
	share := float64(b.failing) / float64(max(len(b.seen), 1))
	switch {
	case b.tripped.IsZero() && b.failing<<b.shift >= set.Least && share >= set.Share:
		b.tripped = now
		return trips
	case b.tripped.IsZero():
		return steady
	case now.Sub(b.tripped) >= breakerFor || now.Before(b.tripped.Add(-breakerFor)),
		len(b.seen)<<b.shift >= set.Least && share < set.Share/2:
		b.tripped = time.Time{}
		return closes
	}
	return steady
}

// open are the upstreams that are not believed, and since when.
func (b *breakers) open(now time.Time) map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	open := map[string]time.Time{}
	for name, br := range b.by {
		if !br.tripped.IsZero() && now.Sub(br.tripped) < breakerFor {
			open[name] = br.tripped
		}
	}
	return open
}
