package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// maxNames bounds a table, whatever a configuration names: 1,000 users are more than anybody reads.
const maxNames = 1000

// names holds a V for each of the names that are known, and one for all the rest.
type names[K ~string, V any] struct {
	known atomic.Pointer[map[K]*V] // the map never changes; a larger one takes its place
	other K                        // the label of rest
	rest  *V
	made  func(K) *V

	mu sync.Mutex // held by know
}

// init prepares the table: other is the label of all that is not known, made makes the V of a name.
func (t *names[K, V]) init(other K, made func(K) *V) {
	t.other, t.made, t.rest = other, made, made(other)
	t.known.Store(&map[K]*V{})
}

// know adds names. Those that could not stand in a page beside the others are the rest's: what is not valid
// UTF-8, and the rest's own label, since no series may be there twice.
func (t *names[K, V]) know(more []K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := maps.Clone(*t.known.Load())
	for _, name := range more {
		unfit := name == "" || name == t.other || !utf8.ValidString(string(name))
		if unfit || known[name] != nil || len(known) >= maxNames {
			continue
		}
		known[name] = t.made(name)
	}
	t.known.Store(&known)
}

// of is the V of a name.
func (t *names[K, V]) of(name K) *V {
	if v := (*t.known.Load())[name]; v != nil {
		return v
	}
	return t.rest
}

// each calls f for every V, that of the rest last.
func (t *names[K, V]) each(f func(*V)) {
	for _, v := range *t.known.Load() {
		f(v)
	}
	f(t.rest)
}
