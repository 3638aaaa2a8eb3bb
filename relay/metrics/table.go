package metrics

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// counter is a number that only grows.
type counter = atomic.Uint64

// maxNames bounds a table, whatever a configuration names: 1,000 users are more than anybody reads.
const maxNames = 1000

// table holds a V for each of the names that are known, and one for all the rest.
type table[K ~string, V any] struct {
	known atomic.Pointer[map[K]*V] // the map never changes; a larger one takes its place
	other K                        // the label of rest
	rest  V
	made  func(*V) // prepares a new V; nil if that is not needed

	mu sync.Mutex // held by know
}

func (t *table[K, V]) init(other K, made func(*V)) {
	t.other, t.made = other, made
	t.known.Store(&map[K]*V{})
	if made != nil {
		made(&t.rest)
	}
}

// know adds names. Those that could not stand in a page beside the others are the rest's: what is no UTF-8, and the rest's
// own label, since no series may be there twice.
func (t *table[K, V]) know(names []K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := maps.Clone(*t.known.Load())
	for _, name := range names {
		if more[name] != nil || name == "" || name == t.other || !utf8.ValidString(string(name)) || len(more) >= maxNames {
			continue
		}
		v := new(V)
		if t.made != nil {
			t.made(v)
		}
		more[name] = v
	}
	t.known.Store(&more)
}

// of is the V of a name.
func (t *table[K, V]) of(name K) *V {
	if v := (*t.known.Load())[name]; v != nil {
		return v
	}
	return &t.rest
}

// each calls f for every name, in order, and for the rest last.
func (t *table[K, V]) each(f func(label string, v *V)) {
	known := *t.known.Load()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		f(string(name), known[name])
	}
	f(string(t.other), &t.rest)
}

// histogram counts durations by size.
type histogram struct {
	bounds []time.Duration // upper, inclusive, ascending
	counts []counter       // one for each bound, and one for what is longer
	micros counter         // the sum; in nanoseconds, delays of days would overflow it
}

func (h *histogram) init(bounds []time.Duration) {
	h.bounds, h.counts = bounds, make([]counter, len(bounds)+1)
}

// observe counts d. A clock that was set back makes a negative one, which counts as none.
func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.micros.Add(uint64(d.Microseconds()))
}
