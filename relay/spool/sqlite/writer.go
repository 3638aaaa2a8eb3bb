package sqlite

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"
)

// How much one transaction gathers. The bytes bound what a batch holds in memory and how long its commit lasts.
const (
	batchBytes = 4 << 20
	batchOps   = 2048
)

// operation is one change of the spool. It is applied within a transaction that it shares with others.
type operation struct {
	// apply makes the change. It may run more than once, and nothing that it did counts before after. An error that
	// is not SQLite's must come before its first write: it concerns this operation only.
	apply func(*tx) error
	after func(error) // runs once, when the change is durable or refused, before the caller hears of it; may be nil
	size  int         // bytes that it adds to the batch, roughly
	kept  bool        // it waits through any trouble of the disk; others are refused
	grows bool        // it is refused while the disk is full
	put   *putting    // the message that it stores; nil for none
	// journal makes the change in the journal alone, if that can be; it is nil if it never can. As with apply, nothing that it did counts
	// before after.
	journal func(*journaling) (done bool, err error)
	doubt   bool // set with a refusal: its commit failed, and may be on the disk all the same
	done    chan error
}

// answer ends an operation.
func (op *operation) answer(err error) {
	if op.after != nil {
		op.after(err)
	}
	op.done <- err
}

// writer is the one goroutine that writes. It starts at once when it is idle, and what comes while a commit is running
// makes up the next transaction. Settlements alone, for which nobody waits but a lane, may be held for a moment.
type writer struct {
	s      *Spool
	c      *conn     // nil while the database cannot be used
	n      counts    // as committed, young messages included
	wal    int       // bytes written since the last checkpoint, roughly
	stored time.Time // when a message was last stored

	journal *journal // nil for none
	young   young

	fault func(committed bool) error // for tests: an error that the disk might give before or after a commit; nil

	// How the trouble stands, if there is any.
	undo    []*putting    // messages that were refused after their commit had failed
	damaged bool          // the database is to be salvaged before it is opened
	delay   time.Duration // before the next attempt

	mu      sync.Mutex
	queue   []*operation
	kept    []*operation // could not be written; first in the next batch
	refuse  error        // why new messages are refused now
	down    bool         // the database is closed: nothing can be written
	alarm   error        // what a reader met
	closing bool
	wake    chan struct{}
	idle    chan struct{} // closed when the goroutine has ended
}

func newWriter(s *Spool, c *conn, n counts) *writer {
	w := &writer{s: s, c: c, n: n, wake: make(chan struct{}, 1), idle: make(chan struct{})}
	w.young = newYoung()
	w.startJournal()
	return w
}

// do has op written and waits for it. When ctx ends first, an operation that the writer has not taken is withdrawn,
// and nothing of it happens; one that is kept stays.
func (w *writer) do(ctx context.Context, op *operation) error {
	op.done = make(chan error, 1)
	w.mu.Lock()
	err := w.takes(op)
	if w.closing {
		err = errClosed
	}
	if err != nil {
		w.mu.Unlock()
		return err
	}
	w.queue = append(w.queue, op)
	w.mu.Unlock()
	w.poke()
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
	}
	if op.kept || w.withdraw(op) {
		return context.Cause(ctx)
	}
	return <-op.done
}

// poke wakes the writer.
func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// withdraw takes op out of the queue; false when the writer has it already.
func (w *writer) withdraw(op *operation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.queue {
		if w.queue[i] == op {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return true
		}
	}
	return false
}

// gather takes the next batch: what is kept from a failed one first, then in the order of arrival. It takes none while there
// is an alarm or the database is closed.
func (w *writer) gather() (batch []*operation, alarm error, closing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alarm != nil || w.down {
		return nil, w.alarm, w.closing
	}
	batch, w.kept = w.kept, nil
	size := 0
	for len(w.queue) > 0 && size < batchBytes && len(batch) < batchOps {
		size += w.queue[0].size
		batch = append(batch, w.queue[0])
		w.queue[0] = nil
		w.queue = w.queue[1:]
	}
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return batch, nil, w.closing
}

// run is the writer's goroutine.
func (w *writer) run() {
	defer close(w.idle)
	for {
		w.hold()
		runtime.Gosched() // those that are about to bring something come first: it then shares this commit
		batch, err, closing := w.gather()
		work := len(batch) > 0
		if err == nil && work {
			if err = w.commit(batch); err == nil {
				batch = nil
				err = w.checkpoint()
			}
		}
		if err != nil {
			w.failed(batch, err)
		}
		troubled := w.refused() != nil
		switch {
		case closing && (troubled || !work):
			w.abandon()
			return
		case troubled:
			w.pause(work && err == nil)
			w.recover()
		case !work:
			<-w.wake
		}
	}
}

// How long settlements are held, how lately a message must have been stored for that, and how many are held at most. Each that is held
// holds up a connection to the upstream.
const (
	holdFor   = 2 * time.Millisecond
	holdAfter = 5 * time.Millisecond
	holdMost  = 4
)

// hold waits a moment for the next message, when messages come one after the other and only settlements wait: one commit
// does for both then, and the message does not have to wait for that of the settlement. With one session that is half
// of all commits.
func (w *writer) hold() {
	if !w.onlySettlements() || time.Since(w.stored) > holdAfter {
		return
	}
	timer := time.NewTimer(holdFor)
	defer timer.Stop()
	for w.onlySettlements() {
		select {
		case <-w.wake:
		case <-timer.C:
			return
		}
	}
}

// onlySettlements reports whether nothing but settlements waits, and they need not be written at once.
func (w *writer) onlySettlements() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || len(w.queue) > holdMost || len(w.kept) > 0 || w.refuse != nil || w.alarm != nil || w.closing {
		return false
	}
	// What is kept and cannot go into the journal is an operator's edit, or brings what is young to a reader who waits for it.
	return !slices.ContainsFunc(w.queue, func(op *operation) bool { return !op.kept || op.journal == nil })
}

// pause waits before the next attempt to end the trouble. While the disk is full settlements go on: then it waits for work,
// too, unless there was some just now.
func (w *writer) pause(busy bool) {
	if busy || w.delay == 0 {
		return
	}
	timer := time.NewTimer(w.delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-w.wake:
		}
		w.mu.Lock()
		stop := w.closing || !w.down && len(w.kept) == 0 && len(w.queue) > 0
		w.mu.Unlock()
		if stop {
			return
		}
	}
}

// abandon answers what can no longer be written.
func (w *writer) abandon() {
	w.mu.Lock()
	rest := append(w.kept, w.queue...)
	w.kept, w.queue = nil, nil
	w.mu.Unlock()
	if len(rest) > 0 {
		w.s.o.Log.Error("the spool is closed with outcomes that could not be written; those messages are tried again", "count", len(rest))
	}
	for _, op := range rest {
		op.answer(errClosed)
	}
}

// commit writes a batch and answers its operations. On an error nobody has been answered and nothing was written.
func (w *writer) commit(batch []*operation) error {
	if w.c == nil {
		return errNoDatabase
	}
	if w.tryJournal(batch) {
		return nil
	}
	t, results, err := w.attempt(batch, false)
	if err != nil && !broken(err) {
		// One of them is bad. Which one shows when each has a savepoint of its own.
		t, results, err = w.attempt(batch, true)
	}
	if err != nil {
		return err
	}
	w.absorbed(t.n.commits)
	w.s.forget(t.gone)
	for _, op := range batch {
		w.wal += op.size + 6*pageSize
	}
	w.conclude(batch, results, t.n, t.remove)
	return nil
}

// conclude answers the operations of a transaction that is on the disk, which holds n from now on.
func (w *writer) conclude(batch []*operation, results []error, n counts, remove []string) {
	w.n = n
	w.s.stat.set(n)
	w.s.marks.committed(n.commits)
	for i, op := range batch {
		if op.put != nil {
			w.stored = time.Now()
		}
		op.answer(results[i])
	}
	w.s.tidy.remove(remove)
}

// attempt applies a batch in one transaction and commits it. The results are the operations' own.
func (w *writer) attempt(batch []*operation, savepoints bool) (t *tx, results []error, err error) {
	if _, err = w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, nil, err
	}
	t = &tx{conn: w.c, n: w.n}
	if err = t.take(&w.young); err != nil {
		return nil, nil, errors.Join(err, w.rollback())
	}
	results = make([]error, len(batch))
	for i, op := range batch {
		if savepoints {
			results[i], err = t.guarded(op)
		} else if results[i] = op.apply(t); code(results[i]) != 0 {
			err = results[i]
		}
		if err != nil {
			return nil, nil, errors.Join(err, w.rollback())
		}
	}
	t.n.commits++
	err = t.storeCounts()
	if err == nil && w.fault != nil {
		err = w.fault(false)
	}
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err == nil && w.fault != nil {
		err = w.fault(true)
	}
	if err != nil {
		return nil, nil, errors.Join(err, w.rollback())
	}
	return t, results, nil
}

// rollback ends a transaction that failed. SQLite may have done so itself.
func (w *writer) rollback() error {
	if _, err := w.c.exec("ROLLBACK"); broken(err) {
		return err
	}
	return nil
}

// broken reports whether err concerns the database as a whole, and not one operation.
func broken(err error) bool {
	switch code(err) {
	case codeReadOnly, codeIOErr, codeCorrupt, codeFull, codeCantOpen, codeNotADB:
		return true
	}
	var damaged errDamaged
	return errors.Is(err, errNoDatabase) || errors.As(err, &damaged)
}

// close ends the writer once everything that waits is written, or cannot be.
func (w *writer) close() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.poke()
	<-w.idle
}
