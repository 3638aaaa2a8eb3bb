package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
)

// How long the writer waits before it tries again what the disk did not let it do: the first time, and at most.
const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
)

// walBytes is about how large the log grows before it is copied into the database.
const walBytes = 8 << 20

// refused returns the error that new messages are refused with, nil when they are taken.
func (w *writer) refused() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refuse
}

// stuck returns an error while settlements cannot be written. Nothing is leased then: a lane must not relay what
// it cannot settle.
func (w *writer) stuck() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down || len(w.kept) > 0 {
		return w.refuse
	}
	return nil
}

// suspect tells the writer of an error that a reader met.
func (w *writer) suspect(err error) {
	if errors.Is(err, errNoDatabase) {
		return
	}
	w.mu.Lock()
	if w.alarm == nil && !w.down {
		w.alarm = err
	}
	w.mu.Unlock()
	w.poke()
}

// failed deals with a batch that could not be written. Settlements are kept for the next batch; the rest is refused, so that
// the client hears of it. On anything but a full disk the database is closed: after an fsync that failed the kernel
// may have dropped pages that SQLite believes written, and only what a fresh look at the disk finds is true.
func (w *writer) failed(batch []*operation, err error) {
	full := isFull(err) && w.c != nil
	refuse := fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	if full {
		refuse = fmt.Errorf("%w: %w", relay.ErrFull, err)
	}
	w.mu.Lock()
	if w.refuse == nil {
		w.s.o.Log.Error("the spool cannot be written; new messages are refused until it can", "dir", w.s.o.Dir, "err", err)
	}
	w.refuse, w.down, w.alarm = refuse, !full, nil
	var out []*operation
	for _, op := range batch {
		if op.kept {
			w.kept = append(w.kept, op)
			continue
		}
		out = append(out, op)
		if op.put != nil && !full {
			op.doubt = true
			w.undo = append(w.undo, op.put)
		}
	}
	out = append(out, w.takeRefused()...)
	w.mu.Unlock()
	for _, op := range out {
		op.answer(refuse)
	}
	if full {
		w.freeReserve()
		return
	}
	w.shut(err)
}

// takeRefused takes from the queue what is refused now. w.mu is held.
func (w *writer) takeRefused() (out []*operation) {
	rest := w.queue[:0]
	for _, op := range w.queue {
		if w.takes(op) == nil {
			rest = append(rest, op)
		} else {
			out = append(out, op)
		}
	}
	clear(w.queue[len(rest):])
	w.queue = rest
	return out
}

// takes says whether an operation may wait to be written. w.mu is held.
func (w *writer) takes(op *operation) error {
	if op.kept || w.refuse == nil || !w.down && !op.grows {
		return nil
	}
	return w.refuse
}

// shut closes the database.
func (w *writer) shut(cause error) {
	if w.c == nil {
		return
	}
	w.s.spillAll()
	w.damaged = w.damaged || code(cause) == codeCorrupt || code(cause) == codeNotADB || isDamaged(cause)
	err := errors.Join(w.s.pool.stop(), w.c.close())
	w.c = nil
	if err != nil {
		w.s.o.Log.Warn("closing the spool's database", "dir", w.s.o.Dir, "err", err)
	}
}

// isDamaged reports whether err is an errDamaged.
func isDamaged(err error) bool {
	var damaged errDamaged
	return errors.As(err, &damaged)
}

// freeReserve gives the disk the room that was kept for settlements.
func (w *writer) freeReserve() {
	w.mu.Lock()
	waiting := len(w.kept) > 0
	w.mu.Unlock()
	if waiting && w.s.dropReserve(max(startReserve, w.s.reserved()-reserveStep)) {
		w.delay = 0 // at once: there is room now
		return
	}
	// Others have taken that room. A log that is copied into the database is written anew from its beginning, which needs none.
	if err := w.copyLog(); err != nil && !isFull(err) {
		w.s.o.Log.Warn("copying the log on a full disk", "dir", w.s.o.Dir, "err", err)
	}
	w.delay = min(max(2*w.delay, retryFirst), retryMax)
}

// The reserve is freed a step at a time, since whatever has filled the disk may take that room as well, and only when
// an outcome waits for it. The last part is left for a start on the full disk.
const (
	reserveStep  = 4 << 20
	startReserve = 1 << 20
)

// dropReserve frees the reserve but for left bytes. It reports false when there is no more than that.
func (s *Spool) dropReserve(left int64) bool {
	if s.reserved() <= left {
		return false
	}
	if err := os.Truncate(s.path(reserveName), left); err != nil {
		s.o.Log.Error("cannot free the spool's reserve", "dir", s.o.Dir, "err", err)
		return false
	}
	return true
}

// reserved is how large the reserve is now.
func (s *Spool) reserved() int64 {
	fi, err := os.Stat(s.path(reserveName))
	if err != nil {
		return 0
	}
	return fi.Size()
}

// makeReserve puts the reserve in place at a start. A disk without room for it gets along with less, which is all that is
// asked of it from then on.
func (s *Spool) makeReserve() {
	lim := &s.o.Limits
	err := s.refillReserve()
	if err == nil {
		return
	}
	if free, e := freeBytes(s.o.Dir); e == nil {
		lim.Reserve = min(lim.Reserve, s.reserved()+max(0, free-lim.FreeFloor)/2)
		err = errors.Join(err, s.refillReserve())
	}
	s.o.Log.Warn("the disk has no room for all of the spool's reserve: once it is full, outcomes may have to wait until it is not",
		"dir", s.o.Dir, "bytes", s.reserved(), "err", err)
}

// recover tries to end the trouble. It reports whether new messages are taken again.
func (w *writer) recover() bool {
	if w.refused() == nil {
		return true
	}
	err := w.reopen()
	w.mu.Lock()
	w.down = w.c == nil
	waiting := len(w.kept) > 0
	w.mu.Unlock()
	if err == nil && waiting {
		return false // what the reserve gave is for these
	}
	if err == nil {
		err = w.makeRoom()
	}
	if err != nil {
		w.delay = min(max(2*w.delay, retryFirst), retryMax)
		return false
	}
	w.mu.Lock()
	w.refuse = nil
	w.mu.Unlock()
	w.delay = 0
	w.s.o.Log.Info("the spool can be written again", "dir", w.s.o.Dir)
	return true
}

// makeRoom ends a full disk: it gives back what the database does not need, and refills the reserve.
func (w *writer) makeRoom() error {
	err := w.s.refillReserve()
	if err == nil {
		return nil
	}
	op := &operation{done: make(chan error, 1), apply: w.vacuum}
	if e := w.commit([]*operation{op}); e != nil {
		if !isFull(e) {
			w.suspect(e)
		}
		return errors.Join(err, e)
	}
	if e := w.copyLog(); e != nil {
		return errors.Join(err, e)
	}
	return w.s.refillReserve()
}

// slack is how much must be free, whatever the floor, before new messages are taken again.
const slack = 1 << 20

// refillReserve puts the reserve back once there is room for it above the floor.
func (s *Spool) refillReserve() error {
	lim := s.o.Limits
	free, err := freeBytes(s.o.Dir)
	if err != nil {
		return err
	}
	missing := max(0, lim.Reserve-s.reserved())
	if free < max(lim.FreeFloor, slack)+missing {
		return fmt.Errorf("%w: %d bytes are free", relay.ErrFull, free)
	}
	if missing == 0 {
		return nil
	}
	return durable.Reserve(s.path(reserveName), lim.Reserve)
}

// reopen opens the database after shut. It counts as open once everything in its log has been copied into it and
// synced, and what was refused meanwhile is known not to be there.
func (w *writer) reopen() error {
	if w.c != nil {
		return nil
	}
	if w.damaged {
		if err := w.s.salvage("a query met damage"); err != nil {
			return err
		}
		w.damaged = false
	}
	c, err := openWriter(w.s.path(databaseName))
	if err != nil {
		return err
	}
	n, err := readCounts(c)
	if err == nil {
		err = truncateLog(c)
	}
	if err == nil {
		n, err = w.recount(c, n)
	}
	if err != nil {
		c.close()
		return err
	}
	w.c, w.n, w.wal = c, n, 0
	if err := w.takeBack(); err != nil {
		w.c = nil
		return errors.Join(err, c.close())
	}
	w.s.pool.start()
	return nil
}

// takeBack removes the messages whose callers heard that they were not stored. A transaction whose commit failed may be on
// the disk all the same.
func (w *writer) takeBack() error {
	op := &operation{done: make(chan error, 1), apply: func(t *tx) error {
		for _, p := range w.undo {
			if err := t.takeBack(p); err != nil {
				return err
			}
		}
		return nil
	}}
	if err := w.commit([]*operation{op}); err != nil {
		return err
	}
	w.undo = nil
	if w.journal == nil {
		w.startJournal()
	}
	return <-op.done
}

// takeBack removes one message, if it is there, and its content file in any case. A report stays, since the notices that it
// tells were consumed with it: its id makes it harmless to store it again.
func (t *tx) takeBack(p *putting) error {
	// By the number, too: another message of the same id may have been there before, and was acknowledged.
	there, err := t.has(p.r)
	there = there && p.stored
	switch {
	case err != nil:
		return err
	case there && !p.report:
		return t.delete(p.r.seq, p.r.size, p.r.file)
	case !there && p.r.file != "":
		t.remove = append(t.remove, p.r.file)
	}
	return nil
}

// truncateLog copies the whole log into the database, syncs it, and empties the log.
func truncateLog(c *conn) error {
	busy, _, err := c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && busy != 0 {
		err = errors.New("the log cannot be emptied while the database is being read")
	}
	return err
}

// checkpoint copies the log into the database when it has grown. Readers do not hinder it; what they still need is
// copied the next time.
func (w *writer) checkpoint() error {
	if w.wal < walBytes {
		return nil
	}
	err := w.copyLog()
	if isFull(err) {
		// The log is what has to grow now; the next checkpoint is as good as this one.
		return nil
	}
	return err
}

// copyLog copies as much of the log into the database as no reader still needs.
func (w *writer) copyLog() error {
	var frames, copied int64
	err := w.c.query(func(row []driver.Value) error {
		frames, _ = row[1].(int64)
		copied, _ = row[2].(int64)
		return errStop
	}, "PRAGMA wal_checkpoint(PASSIVE)")
	w.wal = int(frames-copied) * pageSize
	return err
}

// finish empties the log and closes the database.
func (w *writer) finish() error {
	if w.c == nil {
		return errors.Join(errNoDatabase, w.closeJournal())
	}
	var err error
	if w.young.count.Load() > 0 {
		err = w.commit([]*operation{{done: make(chan error, 1), apply: func(*tx) error { return nil }}})
	}
	return errors.Join(err, truncateLog(w.c), w.c.close(), w.closeJournal())
}

// housekeep gives free pages back to the disk, a few in each transaction, and forgets old reports.
func (w *writer) housekeep() {
	w.mu.Lock()
	quiet := len(w.queue) == 0 && w.refuse == nil && !w.closing
	if quiet {
		w.queue = append(w.queue, &operation{done: make(chan error, 1), apply: w.vacuum})
	}
	w.mu.Unlock()
	w.poke()
}

// vacuum is the operation of housekeep.
func (w *writer) vacuum(t *tx) error {
	_, err := t.exec("DELETE FROM reported WHERE at<?", nanos(w.s.o.Now().Add(-reportedFor)))
	if err != nil {
		return err
	}
	free, _, err := t.integer("PRAGMA freelist_count")
	if err != nil || free <= freePages {
		return err
	}
	// Stepped to its end by query: each row is a page.
	return t.query(func([]driver.Value) error { return nil }, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", min(free-freePages, vacuumStep)))
}
