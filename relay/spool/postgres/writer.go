package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool/postgres/database"
)

// operation is what one caller has written.
type operation struct {
	inc   *incarnation                 // it ends with this one; nil: any can do it
	add   func(*database.Changes)      // adds it to a transaction; may be called again
	known func(*database.Changes) bool // it found that it had been done before; nil: that cannot be
	after func(*database.Changes, error)
	must  bool      // it is tried until it is written
	until time.Time // when it is given up otherwise
	bytes int

	done  chan error
	taken bool // a writer has it; under writer.mu
	again bool // a transaction with it may have happened, or found it done
	doubt bool // its last transaction may have happened
}

// finish answers an operation.
func (op *operation) finish(ch *database.Changes, err error) {
	if op.after != nil {
		op.after(ch, err)
	}
	op.done <- err
}

// writer gathers operations into transactions. While one transaction is under way the operations wait for the
// next, on the other connection.
type writer struct {
	s     *Spool
	ended sync.WaitGroup
	woken chan struct{}

	mu      sync.Mutex
	waiting []*operation
	closing bool
	abort   context.Context // ends when what cannot be written is given up
	giveUp  context.CancelFunc
	away    error // why the database cannot be written; nil when it can
	lost    int   // operations that were given up and had to be written
}

// writers is how many transactions are under way at a time.
const writers = 2

// How much one transaction gathers.
const (
	maxBatch      = 512
	maxBatchBytes = 4 << 20
)

func newWriter(s *Spool) *writer {
	w := &writer{s: s, woken: make(chan struct{}, writers)}
	w.abort, w.giveUp = context.WithCancel(context.Background())
	for range writers {
		w.ended.Go(w.run)
	}
	return w
}

// refuses is why nothing new is accepted; nil when it is.
func (w *writer) refuses() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.away
}

// do has an operation written, and returns when it is. When ctx ends an operation that no writer has is taken
// back, and for one that must be written nobody waits any more.
func (w *writer) do(ctx context.Context, op *operation) error {
	if err := w.add(op); err != nil {
		return err
	}
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
	}
	if w.takeBack(op) || op.must {
		return context.Cause(ctx)
	}
	return <-op.done
}

// add gives an operation to the writers.
func (w *writer) add(op *operation) error {
	op.done = make(chan error, 1)
	if !op.must && op.until.IsZero() {
		op.until = time.Now().Add(w.s.o.CommitTimeout)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closing:
		return unavailable(errClosed)
	case w.away != nil && !op.must:
		return unavailable(w.away)
	}
	w.waiting = append(w.waiting, op)
	w.wake()
	return nil
}

// wake wakes a writer.
func (w *writer) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// takeBack takes an operation back that no writer has yet; one that must be written stays.
func (w *writer) takeBack(op *operation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if op.taken || op.must {
		return false
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(o *operation) bool { return o == op })
	op.taken = true
	return true
}

// take waits for operations and takes them; none says that the writer is to end.
func (w *writer) take() (batch []*operation) {
	for {
		runtime.Gosched() // those that are about to bring something come first: it shares this commit
		w.mu.Lock()
		bytes := 0
		for len(w.waiting) > 0 && len(batch) < maxBatch && bytes < maxBatchBytes {
			op := w.waiting[0]
			w.waiting = w.waiting[1:]
			op.taken = true
			bytes += op.bytes
			batch = append(batch, op)
		}
		more, closing := len(w.waiting) > 0, w.closing
		w.mu.Unlock()
		if more || closing {
			w.wake() // the other one
		}
		if len(batch) > 0 || closing {
			return batch
		}
		<-w.woken
	}
}

// run is a writer's goroutine.
func (w *writer) run() {
	l := &link{w: w}
	defer l.drop()
	for {
		batch := w.take()
		if len(batch) == 0 {
			return
		}
		l.write(batch)
	}
}

// close waits until everything is written, or given up. It returns how many operations were lost that had
// to be written.
func (w *writer) close() (lost int) {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.wake()
	timer := time.AfterFunc(w.s.o.CommitTimeout, w.giveUp)
	w.ended.Wait()
	timer.Stop()
	w.giveUp()
	if w.lost > 0 {
		w.s.o.Log.Error("the spool is closed with outcomes that could not be written; those messages are "+
			"tried again", "count", w.lost)
	}
	return w.lost
}

// failed notes that the database cannot be written. What waits and need not be written is refused at once.
func (w *writer) failed(err error) {
	w.mu.Lock()
	first := w.away == nil
	w.away = err
	var refused []*operation
	w.waiting = slices.DeleteFunc(w.waiting, func(op *operation) bool {
		if op.must {
			return false
		}
		op.taken = true
		refused = append(refused, op)
		return true
	})
	if first && !w.closing { // which finds out when it can be written again
		w.waiting = append(w.waiting, w.probe())
		w.wake()
	}
	w.mu.Unlock()
	if first {
		w.s.o.Log.Error("the database cannot be written; no mail is accepted until it can", "err", err)
	}
	for _, op := range refused {
		op.finish(nil, unavailable(err))
	}
}

// probe is an operation that writes something.
func (w *writer) probe() *operation {
	return &operation{must: true, again: true, add: func(*database.Changes) {}, done: make(chan error, 1)}
}

// succeeded notes that the database can be written.
func (w *writer) succeeded() {
	w.mu.Lock()
	was := w.away
	w.away = nil
	w.mu.Unlock()
	if was != nil {
		w.s.o.Log.Info("the database can be written again")
	}
}

// link is the connection of one writer.
type link struct {
	w *writer
	c *postgres.Conn
}

// drop closes the connection.
func (l *link) drop() {
	if l.c != nil {
		l.c.Drop()
		l.c = nil
	}
}

// How long a writer waits before it tries again what failed, at first and at most.
const (
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// write writes operations and answers them. It returns when all are answered.
func (l *link) write(batch []*operation) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if batch = l.prune(batch); len(batch) == 0 {
			return
		}
		inc := l.w.s.inc.Load()
		ch, err := l.attempt(inc, batch)
		switch {
		case err == nil:
			l.w.succeeded()
			if batch = answer(batch, ch); len(batch) == 0 {
				return
			}
			pause = firstPause / 2 // not a failure: it only has to be known for sure
		case postgres.Code(err) == database.CodeFenced:
			l.fenced(inc)
		case strings.HasPrefix(postgres.Code(err), "40"): // another transaction was in the way
		case ownFault(err) && len(batch) > 1:
			for _, op := range batch { // one of them is to blame
				l.write([]*operation{op})
			}
			return
		case ownFault(err):
			batch[0].finish(nil, opError(err))
			return
		default:
			l.failed(batch, err)
		}
		select {
		case <-time.After(pause):
		case <-l.w.abort.Done():
		}
	}
}

// attempt tries to write operations in one transaction.
func (l *link) attempt(inc *incarnation, batch []*operation) (*database.Changes, error) {
	ctx, cancel := context.WithDeadline(l.w.abort, l.deadline(batch))
	defer cancel()
	if l.c == nil || l.c.IsClosed() {
		c, err := l.w.s.db.Connect(ctx)
		if err != nil {
			return nil, err
		}
		l.c = c
	}
	ch := new(database.Changes)
	for _, op := range batch {
		op.add(ch)
		ch.Again = ch.Again || op.again
	}
	return ch, l.w.s.db.Apply(ctx, l.c, inc.id, ch)
}

// deadline is when the first of the callers gives up.
func (l *link) deadline(batch []*operation) time.Time {
	end := time.Now().Add(l.w.s.o.CommitTimeout)
	for _, op := range batch {
		if !op.must && op.until.Before(end) {
			end = op.until
		}
	}
	return end
}

// answer answers the operations of a transaction that has succeeded. What was done before is written again,
// to know that it is on the standby.
func answer(batch []*operation, ch *database.Changes) (again []*operation) {
	for _, op := range batch {
		op.doubt = false
		if !ch.Again && op.known != nil && op.known(ch) {
			op.again = true
			again = append(again, op)
			continue
		}
		op.finish(ch, nil)
	}
	return again
}

// failed notes that operations could not be written, and closes the connection.
func (l *link) failed(batch []*operation, err error) {
	doubt := errors.Is(err, postgres.ErrInDoubt)
	for _, op := range batch {
		op.doubt = op.doubt || doubt
		op.again = op.again || doubt
	}
	l.drop()
	l.w.failed(err)
	for _, op := range batch {
		if !op.must && !op.doubt { // it is known that nothing was stored: the client need not wait
			op.until = time.Time{}
		}
	}
}

// fenced makes a new incarnation, since this process was taken over.
func (l *link) fenced(inc *incarnation) {
	if err := l.w.s.reborn(l.w.abort, inc); err != nil {
		l.w.failed(err)
	}
}

// prune answers the operations that are not to be tried any more.
func (l *link) prune(batch []*operation) (left []*operation) {
	inc := l.w.s.inc.Load()
	for _, op := range batch {
		switch {
		case op.inc != nil && op.inc != inc:
			op.finish(nil, relay.ErrStaleLease)
		case l.w.abort.Err() != nil:
			l.w.lose(op)
		case !op.must && !time.Now().Before(op.until):
			op.finish(nil, l.w.tooLate(op))
		default:
			left = append(left, op)
		}
	}
	return left
}

// tooLate is the error of an operation that is given up.
func (w *writer) tooLate(op *operation) error {
	err := w.refuses()
	if err == nil {
		err = context.DeadlineExceeded
	}
	if op.doubt && !errors.Is(err, postgres.ErrInDoubt) {
		err = fmt.Errorf("%w: %w", postgres.ErrInDoubt, err)
	}
	return unavailable(err)
}

// lose gives up an operation when the spool is closed.
func (w *writer) lose(op *operation) {
	w.mu.Lock()
	if op.must {
		w.lost++
	}
	w.mu.Unlock()
	op.finish(nil, unavailable(errClosed))
}

// ownFault reports whether an error says that an operation cannot be written at all.
func ownFault(err error) bool {
	if errors.Is(err, postgres.ErrInDoubt) {
		return false
	}
	switch code := postgres.Code(err); {
	case code == "":
		return false
	case code == database.CodeStale:
		return true
	default:
		// Data that is not accepted, a constraint, a statement that is wrong. Of all else the server is the
		// cause, or another transaction.
		return slices.Contains([]string{"21", "22", "23", "42", "54"}, code[:2])
	}
}

// opError is the error of an operation that cannot be written.
func opError(err error) error {
	if postgres.Code(err) == database.CodeStale {
		return relay.ErrStaleLease
	}
	return err
}

// storeError is the error of mail that was not stored.
func storeError(err error) error {
	if postgres.Code(err) == "53100" { // disk_full
		return fmt.Errorf("%w: %w", relay.ErrFull, err)
	}
	return err
}
