package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// tidy does what need not be done at once: it removes content files that nothing refers to any more, gives pages that the
// database does not use back to the disk, and forgets old reports.
type tidy struct {
	s     *Spool
	wake  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	files   []string
	closing bool
}

// How often the database is looked at, how many pages it keeps for itself, and how many are given back at a time.
const (
	tidyEvery  = 10 * time.Second
	freePages  = 1024
	vacuumStep = 256
)

// reportedFor is how long the ids of our own reports are known.
const reportedFor = 7 * 24 * time.Hour

func newTidy(s *Spool) *tidy {
	return &tidy{s: s, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// remove has content files removed.
func (t *tidy) remove(files []string) {
	if len(files) == 0 {
		return
	}
	t.mu.Lock()
	t.files = append(t.files, files...)
	t.mu.Unlock()
	t.poke()
}

func (t *tidy) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine.
func (t *tidy) run() {
	defer close(t.ended)
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		t.mu.Lock()
		files, closing := t.files, t.closing
		t.files = nil
		t.mu.Unlock()
		for _, name := range files {
			err := os.Remove(t.s.path(contentDir, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.s.o.Log.Warn("cannot remove a content file", "file", name, "err", err)
			}
		}
		if closing {
			return
		}
		select {
		case <-t.wake:
		case <-ticker.C:
			t.s.w.housekeep()
		}
	}
}

// close removes what is to be removed and ends the goroutine.
func (t *tidy) close() {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.poke()
	<-t.ended
}
