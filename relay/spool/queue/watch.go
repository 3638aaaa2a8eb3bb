package queue

import (
	"maps"
	"slices"
	"sync"
)

// Watchers hear of the lanes to which messages come in other ways than by being put (relay.Watcher). The zero
// Watchers has none. It is safe for concurrent use.
type Watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]func(lane string)
}

// Watch has due called for each lane that is told, until stop is called.
func (w *Watchers) Watch(due func(lane string)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int]func(string){}
	}
	n := w.next
	w.next++
	w.all[n] = due
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, n)
	}
}

// Tell tells all watchers that messages have come to a lane.
func (w *Watchers) Tell(lane string) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.all))
	w.mu.Unlock()
	for _, due := range all {
		due(lane)
	}
}
