package recall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay/internal/sqlite"
)

// The bounds of what one transaction takes, and so of how long a commit lasts.
const (
	batchMost  = 512
	flushAfter = time.Second // what was relayed is written so long after it was told
)

// writer has the one connection that writes. Its goroutine makes one transaction of all changes that wait.
type writer struct {
	name     string
	maxPages int64
	log      *slog.Logger

	changes chan *change
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	published counter
	unusable  atomic.Pointer[error] // why the database cannot be opened; nil: it can
	suspect   atomic.Bool           // a reader found it broken
	opened    atomic.Int64          // how often it was opened

	// The rest belongs to the goroutine of run, and before and after that to who opens and closes.
	conn   *sqlite.Conn // nil: to be opened anew
	file   fs.FileInfo  // that conn has open
	counts counts
	synced bool // commits are synced
}

// change is a change of the database that somebody waits for. make may be called more than once: a
// transaction that failed is made again. Its error is one of the database, and undoes it; other results
// it leaves in its variables.
type change struct {
	make func(*tx) error
	done chan error
}

// tx is the transaction under way.
type tx struct {
	*sqlite.Conn
	n *counts
}

// newWriter opens the database. Where that fails it is tried again with each transaction.
func newWriter(o *Options) *writer {
	w := &writer{
		name: o.Path, maxPages: o.maxPages, log: o.Log,
		changes: make(chan *change, batchMost), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	w.setCounts(counts{})
	_ = w.open() // fault has the error
	return w
}

// open opens the database, and logs when it cannot be opened any more, and when it can again.
func (w *writer) open() error {
	err := w.openAndCount()
	switch before := w.unusable.Load(); {
	case err != nil && before == nil:
		w.log.Error("the store of feedback cannot be opened: mail is relayed, but not remembered, and "+
			"nothing that comes back is taken", "err", err)
		w.unusable.Store(&err)
	case err != nil:
		w.unusable.Store(&err)
	case before != nil:
		w.log.Info("the store of feedback can be opened again", "file", w.name)
		w.unusable.Store(nil)
	}
	return err
}

// openAndCount opens the database and counts what it holds.
func (w *writer) openAndCount() error {
	c, err := openWriter(w.name)
	if err != nil {
		return err
	}
	if w.maxPages > 0 {
		err = c.Run(fmt.Sprintf("PRAGMA max_page_count=%d", w.maxPages))
	}
	var n counts
	var keyed int64
	for query, p := range map[string]*int64{
		"SELECT count(*) FROM message":                                        &n.messages,
		"SELECT max(seq) FROM message":                                        &n.seq,
		"SELECT max(message) FROM key WHERE part=(SELECT max(part) FROM key)": &keyed,
		"SELECT count(*) FROM report":                                         &n.reports,
		"SELECT count(*) FROM report WHERE state='waiting'":                   &n.waiting,
		"SELECT coalesce(sum(length(body)), 0) FROM report":                   &n.bytes,
	} {
		if err == nil {
			*p, _, err = c.Integer(query)
		}
	}
	if err != nil {
		c.Close()
		return named(w.name, err)
	}
	n.seq = max(n.seq, keyed) // a number is not given again while keys of it are left
	if w.file, err = os.Stat(w.name); err != nil {
		c.Close()
		return err
	}
	w.conn, w.synced = c, true
	w.setCounts(n)
	w.opened.Add(1)
	return nil
}

// setCounts notes what the database holds, for others too.
func (w *writer) setCounts(n counts) {
	w.counts = n
	w.published.Store(&n)
}

// write has a change made and waits until it is durable, or for ctx: it may be made all the same then, and do
// may still run. So the caller looks at what do has left in its variables only if there is no error.
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	ch := &change{make: do, done: make(chan error, 1)}
	select {
	case <-w.closing:
		return ErrClosed
	default:
	}
	select {
	case w.changes <- ch:
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-ch.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ended:
	}
	select {
	case err := <-ch.done:
		return err
	default:
		return ErrClosed
	}
}

// stop lets no more changes in.
func (w *writer) stop() { w.once.Do(func() { close(w.closing) }) }

// run makes changes until stop, and then those that still wait. flush writes what is in the buffer, a while
// after the first message came, or at once when there are enough; more reports that there is more.
func (w *writer) run(b *buffer, after time.Duration, flush func() (more bool)) {
	defer close(w.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	soon := false
	for {
		select {
		case ch := <-w.changes:
			w.makeAll(w.gather(ch))
		case <-b.full:
			if b.enough() {
				timer.Reset(0)
			} else if !soon {
				timer.Reset(after)
			}
			soon = true
		case <-timer.C:
			if soon = flush(); soon {
				timer.Reset(0)
			} else {
				timer.Reset(time.Hour)
			}
		case <-w.closing:
			w.finish(flush)
			return
		}
	}
}

// finish makes the changes that came before stop and writes the buffer.
func (w *writer) finish(flush func() (more bool)) {
	for {
		select {
		case ch := <-w.changes:
			w.makeAll(w.gather(ch))
			continue
		default:
		}
		if !flush() {
			return
		}
	}
}

// gather takes what else waits.
func (w *writer) gather(first *change) []*change {
	all := []*change{first}
	for len(all) < batchMost {
		select {
		case ch := <-w.changes:
			all = append(all, ch)
		default:
			return all
		}
	}
	return all
}

// makeAll makes changes in one synced transaction. Where one of them fails they are made one by one, unless
// what failed concerns all of them.
func (w *writer) makeAll(all []*change) {
	err := w.transaction(true, func(t *tx) error {
		for _, ch := range all {
			if err := ch.make(t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(all) > 1 && !isFull(err) && !isBroken(err) {
		for i := range all {
			w.makeAll(all[i : i+1])
		}
		return
	}
	for _, ch := range all {
		ch.done <- err
	}
}

// transaction runs do in a transaction, and commits it synced or not. After an error nothing of it is there,
// but for a commit whose end is not known: then the database is opened anew.
func (w *writer) transaction(synced bool, do func(*tx) error) error {
	if w.conn != nil && (replaced(w.name, w.file) || w.suspect.Swap(false)) {
		w.log.Error("the store of feedback was moved away, or is damaged; it is opened anew", "file", w.name)
		w.conn.Close()
		w.conn = nil
	}
	if w.conn == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	err := w.begin(synced)
	n := w.counts
	if err == nil {
		err = do(&tx{w.conn, &n})
	}
	if err == nil {
		_, err = w.conn.Exec("COMMIT")
	}
	if err == nil {
		w.setCounts(n)
		return nil
	}
	w.undo(err)
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// replaced reports whether a file that was opened has its name no more: what is written to it would be lost.
func replaced(name string, file fs.FileInfo) bool {
	now, err := os.Stat(name)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, file)
}

// begin begins a transaction.
func (w *writer) begin(synced bool) error {
	if synced != w.synced {
		level := "NORMAL"
		if synced {
			level = "FULL"
		}
		if _, err := w.conn.Exec("PRAGMA synchronous=" + level); err != nil {
			return err
		}
		w.synced = synced
	}
	_, err := w.conn.Exec("BEGIN IMMEDIATE")
	return err
}

// undo ends a transaction that failed with err. SQLite may have done so itself.
func (w *writer) undo(err error) {
	_, rollback := w.conn.Exec("ROLLBACK")
	if sqlite.Code(rollback) == codeError { // there is nothing left to roll back
		rollback = nil
	}
	if !isBroken(err) && !isBroken(rollback) {
		return
	}
	w.log.Error("the store of feedback failed; it is opened anew", "file", w.name, "err", err)
	w.conn.Close()
	w.conn = nil
}

// close closes the connection.
func (w *writer) close() error {
	if w.conn == nil {
		return nil
	}
	return w.conn.Close()
}
