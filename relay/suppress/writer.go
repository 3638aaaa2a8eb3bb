package suppress

import (
	"context"
	"database/sql/driver"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
)

// The housekeeping.
const (
	batchMost   = 512
	backlogMost = 4096 // findings that wait for a file that cannot be written
	tidyEvery   = time.Minute
	tryAgain    = 5 * time.Second
)

// writer has the connection that writes. Its goroutine makes one transaction of all that waits.
type writer struct {
	l       *List
	jobs    chan *job
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	conn *sqlite.Conn // of the goroutine; nil: to be opened anew
	file fs.FileInfo  // that conn has open

	shared bool          // the file says what other replicas have; of the goroutine
	owes   chan struct{} // hears of a change that other replicas have not got

	reading  sync.Mutex
	reader   *sqlite.Conn // nil: to be opened
	readFile fs.FileInfo
}

// job is a change of the list. do may run more than once: a transaction that failed is made again.
type job struct {
	do   func(*tx) error
	done chan error // hears the end; nil for what must be stored however often that is tried
}

// tx is the transaction under way.
type tx struct {
	*sqlite.Conn
	l       *List
	w       *writer
	effects []effect
	events  []relay.Event
	owed    bool // other replicas are to hear of it
}

// effect is what a committed transaction changes in memory.
type effect struct {
	hash        uint64
	before, now *relay.Suppression
}

// newWriter opens the file and starts the goroutine. Where the file cannot be opened that is tried again.
func newWriter(l *List) *writer {
	w := &writer{l: l, jobs: make(chan *job, backlogMost), closing: make(chan struct{}),
		ended: make(chan struct{}), owes: make(chan struct{}, 1)}
	if err := w.open(); err != nil {
		l.fail(err)
	}
	go w.run()
	return w
}

// open opens the file and reads the index.
func (w *writer) open() error {
	c, err := openFile(w.l.o.Path)
	if err != nil {
		return err
	}
	if err = w.l.load(c); err == nil {
		w.shared, err = isShared(c)
	}
	if err == nil {
		w.file, err = os.Stat(w.l.o.Path)
	}
	if err != nil {
		c.Close()
		return named(w.l.o.Path, err)
	}
	w.conn = c
	w.l.works()
	return nil
}

// load makes the index of what the file holds.
func (l *List) load(c *sqlite.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.index)
	clear(l.counts)
	l.noted = 0
	err := c.Query(func(v []driver.Value) error {
		r := entryIn(v)
		l.mark(effect{hash: l.hashOf(&r.Suppression), now: &r.Suppression})
		return nil
	}, "SELECT id, "+columns+" FROM entry")
	for h, s := range l.fresh {
		l.index[h] = mark(s)
	}
	return err
}

// mark puts an effect into the index and the counts. l.mu is held.
func (l *List) mark(e effect) {
	add := func(s *relay.Suppression, n int64) {
		switch {
		case s == nil:
		case s.State == relay.SuppressionActive:
			if l.counts[s.Reason] += n; l.counts[s.Reason] == 0 {
				delete(l.counts, s.Reason)
			}
		default:
			l.noted += n
		}
	}
	add(e.before, -1)
	add(e.now, 1)
	if e.now == nil {
		delete(l.index, e.hash)
		return
	}
	l.index[e.hash] = mark(e.now)
}

// learn stores what a finding leads to, soon.
func (w *writer) learn(f *finding) {
	w.later(func(t *tx) error {
		set := t.l.o.Settings()
		return t.change(f.scope, f.address, f.time, func(cur *entry) (*entry, change) {
			return decide(cur, f, &set)
		})
	})
}

// takeBack removes what an upstream said since a time.
func (w *writer) takeBack(upstream string, since time.Time) {
	w.later(func(t *tx) error { return t.takeBack(upstream, since) })
}

// later has a change made that nobody waits for. It never blocks.
func (w *writer) later(do func(*tx) error) {
	select {
	case w.jobs <- &job{do: do}:
	default:
		w.l.dropped.Add(1)
	}
}

// write has a change made and waits until it is durable, or for ctx.
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	j := &job{do: do, done: make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ended:
		return ErrClosed
	}
}

// run makes changes until close, and then those that still wait.
func (w *writer) run() {
	defer close(w.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var backlog []*job
	for closed := false; !closed; {
		var now []*job
		select {
		case j := <-w.jobs:
			now = w.gather(j)
		case <-timer.C:
			now = []*job{{do: (*tx).tidy, done: make(chan error, 1)}}
		case <-w.closing:
			closed, now = true, w.gather(nil)
		}
		backlog = w.work(append(backlog, now...))
		if over := len(backlog) - backlogMost; over > 0 {
			w.l.dropped.Add(int64(over))
			backlog = backlog[over:]
		}
		if len(backlog) > 0 || w.conn == nil {
			timer.Reset(tryAgain)
		} else {
			timer.Reset(tidyEvery)
		}
	}
}

// gather takes what else waits.
func (w *writer) gather(first *job) (all []*job) {
	if first != nil {
		all = append(all, first)
	}
	for len(all) < batchMost || first == nil {
		select {
		case j := <-w.jobs:
			all = append(all, j)
		default:
			return all
		}
	}
	return all
}

// work makes changes, in one transaction if it can, and returns those that are to be made again.
func (w *writer) work(jobs []*job) (again []*job) {
	if len(jobs) == 0 {
		return nil
	}
	err := w.transaction(jobs)
	if err != nil && len(jobs) > 1 && w.conn != nil {
		for i := range jobs {
			again = append(again, w.work(jobs[i:i+1])...)
		}
		return again
	}
	if err != nil {
		w.l.fail(err)
	} else {
		w.l.works()
	}
	for _, j := range jobs {
		if j.done != nil {
			j.done <- err
		} else if err != nil {
			again = append(again, j)
		}
	}
	return again
}

// transaction makes changes and commits them; after an error nothing of them is there.
func (w *writer) transaction(jobs []*job) error {
	if w.conn != nil && replaced(w.l.o.Path, w.file) {
		w.l.o.Log.Error("the suppression list was moved away; it is begun anew", "file", w.l.o.Path)
		w.drop()
	}
	if w.conn == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	t, shared := &tx{Conn: w.conn, l: w.l, w: w}, w.shared
	_, err := w.conn.Exec("BEGIN IMMEDIATE")
	for i := 0; err == nil && i < len(jobs); i++ {
		err = jobs[i].do(t)
	}
	if err == nil {
		_, err = w.conn.Exec("COMMIT")
	}
	if err != nil {
		w.shared = shared
		if _, rollback := w.conn.Exec("ROLLBACK"); isBroken(err) || isBroken(rollback) {
			w.drop()
		}
		return named(w.l.o.Path, err)
	}
	t.conclude()
	return nil
}

// conclude puts what was committed into the index and tells of it.
func (t *tx) conclude() {
	t.l.mu.Lock()
	for _, e := range t.effects {
		t.l.mark(e)
		delete(t.l.fresh, e.hash)
	}
	t.l.mu.Unlock()
	if t.owed {
		select {
		case t.w.owes <- struct{}{}:
		default:
		}
	}
	for _, e := range t.events {
		t.l.o.Record(e)
	}
}

// drop closes the connection, so that the file is opened anew.
func (w *writer) drop() {
	w.conn.Close()
	w.conn = nil
}

// close stores what waits and closes the connections.
func (w *writer) close() error {
	w.once.Do(func() { close(w.closing) })
	<-w.ended
	var errs []error
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
		w.conn = nil
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	if w.reader != nil {
		errs = append(errs, w.reader.Close())
		w.reader = nil
	}
	return errors.Join(errs...)
}

// withReader calls do with the connection that reads.
func (w *writer) withReader(do func(*sqlite.Conn) error) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	select {
	case <-w.closing:
		return ErrClosed
	default:
	}
	name := w.l.o.Path
	if w.reader != nil && replaced(name, w.readFile) {
		w.reader.Close()
		w.reader = nil
	}
	if w.reader == nil {
		file, err := os.Stat(name)
		if err == nil {
			w.reader, err = sqlite.Open(name, "mode=ro", "query_only=ON", "cache_size=-2048",
				"busy_timeout=5000", "trusted_schema=OFF")
		}
		if err != nil {
			return named(name, err)
		}
		w.readFile = file
	}
	err := do(w.reader)
	if err == nil {
		return nil
	}
	if isBroken(err) {
		w.reader.Close()
		w.reader = nil
	}
	return named(name, err)
}

// read is the entry of a scope and a key; nil if there is none.
func (w *writer) read(scope, key string) (s *relay.Suppression, err error) {
	err = w.withReader(func(c *sqlite.Conn) error {
		r, err := w.l.findIn(c, scope, key)
		if r != nil {
			s = &r.Suppression
		}
		return err
	})
	return s, err
}
