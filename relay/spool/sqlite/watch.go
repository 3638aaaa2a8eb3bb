package sqlite

import (
	"maps"
	"slices"
	"sync"
)

// watchers hear of the lanes to which messages come in other ways than by Put. They are safe for concurrent
// use.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]func(lane string)
}

// Watch implements relay.Watcher.
func (s *Spool) Watch(due func(lane string)) (stop func()) { return s.watchers.add(due) }

// add adds a watcher until stop is called.
func (w *watchers) add(due func(lane string)) (stop func()) {
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

// tell tells all watchers of a lane.
func (w *watchers) tell(lane string) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.all))
	w.mu.Unlock()
	for _, due := range all {
		due(lane)
	}
}
