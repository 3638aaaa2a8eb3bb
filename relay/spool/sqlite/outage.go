package sqlite

import (
	"errors"
	"fmt"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// How long the writer waits before it tries again what the disk did not let it do: the first time, and at
// most.
const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
)

// pause waits before the next attempt to end the outage. While the disk is full settlements go on: then it
// waits for work, too, unless there was some just now.
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
		case <-w.ops.woken:
		}
		if w.ops.workDuringOutage() {
			return
		}
	}
}

// delayMore doubles the time before the next attempt.
func (w *writer) delayMore() { w.delay = min(max(2*w.delay, retryFirst), retryMax) }

// failed deals with a batch that could not be written. Settlements are kept for the next batch; the rest is
// refused, so that the client hears of it. On anything but a full disk the database is closed: after an
// fsync that failed the kernel may have dropped pages that SQLite believes written, and only what a fresh
// look at the disk finds is true.
func (w *writer) failed(batch []*operation, err error) {
	full := database.IsFull(err) && w.c != nil
	refuse := fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	if full {
		refuse = fmt.Errorf("%w: %w", relay.ErrFull, err)
	}
	for _, op := range batch {
		if !op.mustWrite && op.put != nil && !full {
			op.doubt = true
			w.undo = append(w.undo, op.put)
		}
	}
	out, first := w.ops.fail(batch, refuse, full)
	if first {
		w.s.o.Log.Error("the spool cannot be written; new messages are refused until it can", "dir",
			w.s.o.Dir, "err", err)
	}
	for _, op := range out {
		op.answer(refuse)
	}
	if full {
		w.freeReserve()
		return
	}
	w.shut(err)
}

// shut closes the database.
func (w *writer) shut(cause error) {
	if w.c == nil {
		return
	}
	w.s.queue.EvictAll()
	w.damaged = w.damaged || database.IsDamage(cause)
	err := errors.Join(w.s.pool.Stop(), w.c.Close())
	w.c = nil
	if err != nil {
		w.s.o.Log.Warn("closing the spool's database", "dir", w.s.o.Dir, "err", err)
	}
}

// freeReserve gives the disk the room that was kept for settlements.
func (w *writer) freeReserve() {
	if w.ops.retries() && w.s.disk.dropStep() {
		w.delay = 0 // at once: there is room now
		return
	}
	// Others have taken that room. A log that is copied into the database is written anew from its
	// beginning, which needs none.
	if err := w.copyLog(); err != nil && !database.IsFull(err) {
		w.s.o.Log.Warn("copying the log on a full disk", "dir", w.s.o.Dir, "err", err)
	}
	w.delayMore()
}

// recover tries to end the outage.
func (w *writer) recover() {
	if w.ops.refused() == nil {
		return
	}
	err := w.reopen()
	waiting := w.ops.reopened(w.c != nil)
	if err == nil && waiting {
		return // what the reserve gave is for these
	}
	if err == nil {
		err = w.makeRoom()
	}
	if err != nil {
		w.delayMore()
		return
	}
	w.ops.recovered()
	w.delay = 0
	w.s.o.Log.Info("the spool can be written again", "dir", w.s.o.Dir)
}

// makeRoom ends a full disk: it gives back what the database does not need, and refills the reserve.
func (w *writer) makeRoom() error {
	err := w.s.disk.refillReserve()
	if err == nil {
		return nil
	}
	op := &operation{done: make(chan error, 1), apply: w.vacuum}
	if e := w.commit([]*operation{op}); e != nil {
		if !database.IsFull(e) {
			w.ops.suspect(e)
		}
		return errors.Join(err, e)
	}
	if e := w.copyLog(); e != nil {
		return errors.Join(err, e)
	}
	return w.s.disk.refillReserve()
}

// reopen opens the database after shut. It counts as open once everything in its log has been copied into
// it and synced, and what was refused meanwhile is known not to be there.
func (w *writer) reopen() error {
	if w.c != nil {
		return nil
	}
	if w.damaged {
		if err := w.s.quarantine.salvage("a query met damage"); err != nil {
			return err
		}
		w.damaged = false
	}
	c, err := database.OpenWriter(w.s.dir.File(files.Database))
	if err != nil {
		return err
	}
	n, err := database.ReadCounts(c)
	if err == nil {
		err = database.TruncateLog(c)
	}
	if err == nil {
		n, err = w.pending.recount(c, n, w.n)
	}
	if err != nil {
		c.Close()
		return err
	}
	w.c, w.n, w.wal = c, n, 0
	if err := w.takeBack(); err != nil {
		w.c = nil
		return errors.Join(err, c.Close())
	}
	w.s.pool.Start()
	return nil
}

// takeBack removes the messages whose callers heard that they were not stored. A transaction whose commit
// failed may be on the disk all the same.
func (w *writer) takeBack() error {
	op := &operation{done: make(chan error, 1), apply: func(t *database.Tx) error {
		for _, p := range w.undo {
			if err := p.takeBack(t); err != nil {
				return err
			}
		}
		return nil
	}}
	if err := w.commit([]*operation{op}); err != nil {
		return err
	}
	w.undo = nil
	if w.pending.journal == nil {
		w.startJournal()
	}
	return <-op.done
}
