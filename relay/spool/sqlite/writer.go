package sqlite

import (
	"errors"
	"runtime"
	"slices"
	"time"

	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
)

// writer is the one goroutine that writes. It starts at once when it is idle, and what comes while a commit
// is running makes up the next transaction. Settlements alone, for which nobody waits but a lane, may be
// held for a moment.
type writer struct {
	s      *Spool
	ops    *operations
	c      *database.Conn  // nil while the database cannot be used
	n      database.Counts // as committed, what is pending included
	wal    int             // bytes written since the log was last copied, roughly
	stored time.Time       // when a message was last stored
	ended  chan struct{}

	pending *pending

	// for tests: an error that the disk might give before or after a commit; nil
	fault func(committed bool) error

	// How an outage stands, if there is one.
	undo    []*putting    // messages that were refused after their commit had failed
	damaged bool          // the database is to be salvaged before it is opened
	delay   time.Duration // before the next attempt
}

func newWriter(s *Spool, c *database.Conn, n database.Counts) *writer {
	w := &writer{s: s, ops: newOperations(), c: c, n: n, ended: make(chan struct{}), pending: newPending(s)}
	w.startJournal()
	return w
}

// run is the writer's goroutine.
func (w *writer) run() {
	defer close(w.ended)
	for {
		w.hold()
		runtime.Gosched() // those that are about to bring something come first: it then shares this commit
		batch, err, closing := w.ops.gather()
		work := len(batch) > 0
		if err == nil && work {
			if err = w.commit(batch); err == nil {
				batch = nil
				err = w.trimLog()
			}
		}
		if err != nil {
			w.failed(batch, err)
		}
		outage := w.ops.refused() != nil
		switch {
		case closing && (outage || !work):
			w.abandon()
			return
		case outage:
			w.pause(work && err == nil)
			w.recover()
		case !work:
			<-w.ops.woken
		}
	}
}

// How long settlements are held, how lately a message must have been stored for that, and how many are held
// at most. Each that is held holds up a connection to the upstream.
const (
	holdFor   = 2 * time.Millisecond
	holdAfter = 5 * time.Millisecond
	holdMost  = 4
)

// hold waits a moment for the next message, when messages come one after the other and only settlements
// wait: one commit does for both then, and the message does not have to wait for that of the settlement.
// With one session that is half of all commits.
func (w *writer) hold() {
	if !w.ops.onlySettlements() || time.Since(w.stored) > holdAfter {
		return
	}
	timer := time.NewTimer(holdFor)
	defer timer.Stop()
	for w.ops.onlySettlements() {
		select {
		case <-w.ops.woken:
		case <-timer.C:
			return
		}
	}
}

// abandon answers what can no longer be written.
func (w *writer) abandon() {
	if n := w.ops.abandon(); n > 0 {
		w.s.o.Log.Error("the spool is closed with outcomes that could not be written; those messages are "+
			"tried again",
			"count", n)
	}
}

// commit writes a batch and answers its operations. On an error nobody has been answered and nothing was
// written.
func (w *writer) commit(batch []*operation) error {
	if w.c == nil {
		return database.ErrNotOpen
	}
	if w.tryJournal(batch) {
		return nil
	}
	t, results, err := w.attempt(batch, false)
	if err != nil && !database.IsBroken(err) {
		// One of them is bad. Which one shows when each has a savepoint of its own.
		t, results, err = w.attempt(batch, true)
	}
	if err != nil {
		return err
	}
	w.pending.checkpointed(t.Counts.Commits)
	w.s.queue.Forget(t.Gone)
	for _, op := range batch {
		w.wal += op.size + 6*database.PageSize
	}
	w.conclude(batch, results, t.Counts, t.Unused)
	return nil
}

// conclude answers the operations of a transaction that is on the disk, which holds n from now on.
func (w *writer) conclude(batch []*operation, results []error, n database.Counts, remove []string) {
	w.n = n
	w.s.stat.set(n)
	w.s.run.Committed(n.Commits)
	for i, op := range batch {
		if op.put != nil {
			w.stored = time.Now()
		}
		op.answer(results[i])
	}
	w.s.tidy.remove(remove)
}

// attempt applies a batch in one transaction and commits it. The results are the operations' own.
func (w *writer) attempt(batch []*operation, savepoints bool) (t *database.Tx, results []error, err error) {
	t = database.NewTx(w.c, w.n)
	if err = t.Begin(); err != nil {
		return nil, nil, err
	}
	if err = w.pending.storeIn(t); err != nil {
		return nil, nil, errors.Join(err, t.Rollback())
	}
	results = make([]error, len(batch))
	for i, op := range batch {
		if savepoints {
			results[i], err = t.Guard(op.apply)
		} else if results[i] = op.apply(t); database.Code(results[i]) != 0 {
			err = results[i]
		}
		if err != nil {
			return nil, nil, errors.Join(err, t.Rollback())
		}
	}
	t.Counts.Commits++
	err = t.StoreCounts()
	if err == nil && w.fault != nil {
		err = w.fault(false)
	}
	if err == nil {
		err = t.Commit()
	}
	if err == nil && w.fault != nil {
		err = w.fault(true)
	}
	if err != nil {
		return nil, nil, errors.Join(err, t.Rollback())
	}
	return t, results, nil
}

// startJournal opens the journal, and has the database note its salt. What it holds is in the database
// already.
func (w *writer) startJournal() {
	if !w.pending.open(w.n.Commits) {
		return
	}
	w.n.Journal = w.pending.journal.Salt()
	// Where the disk is full the first transaction that succeeds notes it.
	if err := w.commit([]*operation{nothing()}); err != nil && !database.IsFull(err) {
		w.ops.suspect(err)
	}
}

// tryJournal writes a batch to the journal, and answers it. It reports false when that cannot be done:
// nothing has happened then.
func (w *writer) tryJournal(batch []*operation) bool {
	if !w.pending.takes() || slices.ContainsFunc(batch,
		func(op *operation) bool { return op.journal == nil }) {
		return false
	}
	j := &journaling{p: w.pending, c: w.c, n: w.n, had: w.n, puts: map[string]*spool.Record{}}
	w.pending.journal.Clear()
	results := make([]error, len(batch))
	for i, op := range batch {
		ok, err := op.journal(j)
		if !ok {
			return false
		}
		results[i] = err
	}
	if !w.pending.journal.Empty() {
		if !w.pending.journal.Fits() {
			return false
		}
		j.n.Commits++
		if err := w.writeJournal(j.n.Commits); err != nil {
			w.pending.dropJournal(err)
			return false
		}
	}
	j.conclude()
	w.conclude(batch, results, j.n, nil)
	return true
}

// writeJournal writes the journal's transaction.
func (w *writer) writeJournal(commit int64) (err error) {
	if w.fault != nil {
		err = w.fault(false)
	}
	if err == nil {
		err = w.pending.journal.Write(commit)
	}
	if err == nil && w.fault != nil {
		err = w.fault(true)
	}
	return err
}

// walBytes is about how large the log grows before it is copied into the database.
const walBytes = 8 << 20

// trimLog copies the log into the database when it has grown. Readers do not hinder it; what they still
// need is copied the next time.
func (w *writer) trimLog() error {
	if w.wal < walBytes {
		return nil
	}
	err := w.copyLog()
	if database.IsFull(err) {
		// The log is what has to grow now; the next time is as good as this one.
		return nil
	}
	return err
}

// copyLog copies as much of the log into the database as no reader still needs.
func (w *writer) copyLog() error {
	left, err := database.CopyLog(w.c)
	w.wal = left
	return err
}

// finish empties the log and closes the database.
func (w *writer) finish() error {
	if w.c == nil {
		return errors.Join(database.ErrNotOpen, w.pending.closeJournal())
	}
	var err error
	if w.pending.count.Load() > 0 {
		err = w.commit([]*operation{nothing()})
	}
	return errors.Join(err, database.TruncateLog(w.c), w.c.Close(), w.pending.closeJournal())
}

// housekeep gives free pages back to the disk, a few in each transaction, and forgets old reports.
func (w *writer) housekeep() {
	w.ops.doIfQuiet(&operation{done: make(chan error, 1), apply: w.vacuum})
}

// How many free pages the database keeps for itself, how many are given back at a time, and how long the
// ids of our own reports are known.
const (
	freePages   = 1024
	reportedFor = 7 * 24 * time.Hour
)

// vacuum is the operation of housekeep.
func (w *writer) vacuum(t *database.Tx) error {
	if err := t.ForgetReports(spool.Nanos(w.s.o.Now().Add(-reportedFor))); err != nil {
		return err
	}
	return database.GiveBack(t.Conn, freePages)
}
