package sqlite

import (
	"context"
	"errors"
	"slices"
	"sync"

	"mailwhy/relay/spool/database"
)

// batchOps is how many operations one transaction takes at most.
const batchOps = 2048

// operation is one change of the spool. It is applied within a transaction that it shares with others.
type operation struct {
	// apply makes the change. It may run more than once, and nothing that it did counts before after. An
	// error that is not SQLite's must come before its first write: it concerns this operation only.
	apply func(*database.Tx) error
	// after runs once, when the change is durable or refused, before the caller hears of it; may be nil.
	after func(error)
	size  int // bytes that it adds to the batch, roughly

	mustWrite bool     // it waits through any outage of the disk; others are refused
	grows     bool     // it is refused while the disk is full
	put       *putting // the message that it stores; nil for none

	// journal makes the change in the journal alone, if that can be; it is nil if it never can. As with
	// apply, nothing that it did counts before after.
	journal func(*journaling) (done bool, err error)
	doubt   bool // set with a refusal: its commit failed, and may be on the disk all the same
	done    chan error
}

// nothing is an operation that changes nothing: its transaction takes what is pending with it.
func nothing() *operation {
	return &operation{done: make(chan error, 1), apply: func(*database.Tx) error { return nil }}
}

// answer ends an operation.
func (op *operation) answer(err error) {
	if op.after != nil {
		op.after(err)
	}
	op.done <- err
}

// operations are what the writer is to write, and what it says of the state of the disk. They are safe
// for concurrent use.
type operations struct {
	mu      sync.Mutex
	queue   []*operation
	retry   []*operation // could not be written; first in the next batch
	refuse  error        // why new messages are refused now
	down    bool         // the database is closed: nothing can be written
	alarm   error        // what a reader met
	closing bool
	woken   chan struct{} // there may be something to do
}

func newOperations() *operations { return &operations{woken: make(chan struct{}, 1)} }

// do has op written and waits for it. When ctx ends first, an operation that the writer has not taken is
// withdrawn, and nothing of it happens; one that must be written stays.
func (o *operations) do(ctx context.Context, op *operation) error {
	op.done = make(chan error, 1)
	o.mu.Lock()
	err := o.takes(op)
	if o.closing {
		err = database.ErrClosed
	}
	if err != nil {
		o.mu.Unlock()
		return err
	}
	o.queue = append(o.queue, op)
	o.mu.Unlock()
	o.wake()
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
	}
	if op.mustWrite || o.withdraw(op) {
		return context.Cause(ctx)
	}
	return <-op.done
}

// doIfQuiet has op written, without waiting, if nothing else is to be written.
func (o *operations) doIfQuiet(op *operation) {
	o.mu.Lock()
	if len(o.queue) == 0 && o.refuse == nil && !o.closing {
		o.queue = append(o.queue, op)
	}
	o.mu.Unlock()
	o.wake()
}

// wake wakes the writer.
func (o *operations) wake() {
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// withdraw takes op out of the queue; false when the writer has it already.
func (o *operations) withdraw(op *operation) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.queue, op)
	if i >= 0 {
		o.queue = slices.Delete(o.queue, i, i+1)
	}
	return i >= 0
}

// gather takes the next batch: what could not be written before first, then in the order of arrival. It
// takes none while there is an alarm or the database is closed.
func (o *operations) gather() (batch []*operation, alarm error, closing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.alarm != nil || o.down {
		return nil, o.alarm, o.closing
	}
	batch, o.retry = o.retry, nil
	size := 0
	for len(o.queue) > 0 && size < database.BatchBytes && len(batch) < batchOps {
		size += o.queue[0].size
		batch = append(batch, o.queue[0])
		o.queue[0] = nil
		o.queue = o.queue[1:]
	}
	if len(o.queue) == 0 {
		o.queue = nil
	}
	return batch, nil, o.closing
}

// onlySettlements reports whether nothing but settlements waits, few of them, and they need not be written
// at once.
func (o *operations) onlySettlements() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.queue)
	if n == 0 || n > holdMost || len(o.retry) > 0 || o.refuse != nil || o.alarm != nil || o.closing {
		return false
	}
	// What must be written and cannot go into the journal is an operator's edit, or brings what is pending
	// to a reader who waits for it.
	return !slices.ContainsFunc(o.queue,
		func(op *operation) bool { return !op.mustWrite || op.journal == nil })
}

// refused returns the error that new messages are refused with, nil when they are taken.
func (o *operations) refused() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refuse
}

// stuck returns an error while settlements cannot be written. Nothing is leased then: a lane must not relay
// what it cannot settle.
func (o *operations) stuck() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down || len(o.retry) > 0 {
		return o.refuse
	}
	return nil
}

// suspect tells the writer of an error that a reader met.
func (o *operations) suspect(err error) {
	if errors.Is(err, database.ErrNotOpen) {
		return
	}
	o.mu.Lock()
	if o.alarm == nil && !o.down {
		o.alarm = err
	}
	o.mu.Unlock()
	o.wake()
}

// fail takes note that a batch could not be written. What must be written is kept for the next batch; the
// rest, and what may not wait in the queue now, is returned and must be answered. first is false when there
// was an outage before.
func (o *operations) fail(batch []*operation, refuse error, full bool) (out []*operation, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first = o.refuse == nil
	o.refuse, o.down, o.alarm = refuse, !full, nil
	for _, op := range batch {
		if op.mustWrite {
			o.retry = append(o.retry, op)
		} else {
			out = append(out, op)
		}
	}
	return append(out, o.takeRefused()...), first
}

// takeRefused takes from the queue what is refused now. o.mu is held.
func (o *operations) takeRefused() (out []*operation) {
	rest := o.queue[:0]
	for _, op := range o.queue {
		if o.takes(op) == nil {
			rest = append(rest, op)
		} else {
			out = append(out, op)
		}
	}
	clear(o.queue[len(rest):])
	o.queue = rest
	return out
}

// takes says whether an operation may wait to be written. o.mu is held.
func (o *operations) takes(op *operation) error {
	if op.mustWrite || o.refuse == nil || !o.down && !op.grows {
		return nil
	}
	return o.refuse
}

// reopened notes whether the database is open, and reports whether something waits to be written again.
func (o *operations) reopened(open bool) (waiting bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = !open
	return len(o.retry) > 0
}

// recovered notes that an outage is over.
func (o *operations) recovered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = nil
}

// retries reports whether something waits to be written again.
func (o *operations) retries() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.retry) > 0
}

// workDuringOutage reports whether there is something to do before the outage is over: settlements while
// the disk is full, or the end.
func (o *operations) workDuringOutage() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing || !o.down && len(o.retry) == 0 && len(o.queue) > 0
}

// abandon answers what can no longer be written, and returns how much that is.
func (o *operations) abandon() int {
	o.mu.Lock()
	rest := append(o.retry, o.queue...)
	o.retry, o.queue = nil, nil
	o.mu.Unlock()
	for _, op := range rest {
		op.answer(database.ErrClosed)
	}
	return len(rest)
}

// close has the writer end once everything that waits is written, or cannot be.
func (o *operations) close() {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.wake()
}
