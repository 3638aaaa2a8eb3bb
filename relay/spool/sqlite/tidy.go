package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"mailwhy/relay/spool/files"
)

// tidy does what need not be done at once: it removes content files that nothing refers to any more, and
// has the database give back pages that it does not use.
type tidy struct {
	dir   files.Dir
	woken chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	files   []string
	closing bool
}

// tidyEvery is how often the database is looked at.
const tidyEvery = 10 * time.Second

func newTidy(dir files.Dir) *tidy {
	return &tidy{dir: dir, woken: make(chan struct{}, 1), ended: make(chan struct{})}
}

// remove has content files removed.
func (t *tidy) remove(files []string) {
	if len(files) == 0 {
		return
	}
	t.mu.Lock()
	t.files = append(t.files, files...)
	t.mu.Unlock()
	t.wake()
}

func (t *tidy) wake() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// run is the goroutine. It calls housekeep for the database, now and then.
func (t *tidy) run(housekeep func()) {
	defer close(t.ended)
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		t.mu.Lock()
		names, closing := t.files, t.closing
		t.files = nil
		t.mu.Unlock()
		for _, name := range names {
			err := os.Remove(t.dir.File(files.Contents, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.dir.Log.Warn("cannot remove a content file", "file", name, "err", err)
			}
		}
		if closing {
			return
		}
		select {
		case <-t.woken:
		case <-ticker.C:
			housekeep()
		}
	}
}

// close removes what is to be removed and ends the goroutine.
func (t *tidy) close() {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	t.wake()
	<-t.ended
}
