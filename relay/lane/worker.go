package lane

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// errPanicked stands for a panic met while a message was being relayed.
var errPanicked = errors.New("internal error")

// worker drives connections to the upstream for as long as there is work. It settles each outcome before its
// connection goes on to the next content, so that at most one message a connection is ever relayed and not settled: the bound on
// duplicates after a crash.
func (l *Lane) worker(ctx context.Context) {
	w := &workerRun{lane: l, leased: map[*relay.Transaction]*leased{}}
	defer func() {
		if p := recover(); p != nil {
			l.o.Log.Error("panic while relaying", "lane", l.o.Name, "panic", p, "stack", string(debug.Stack()))
			w.abandon(fmt.Errorf("%w: %v", errPanicked, p))
		}
		l.signals <- signal{exit: true}
	}()
	for first := w.next(); first != nil; first = w.next() {
		l.o.Upstream.Relay(ctx, first, w.next, w.done)
	}
}

// workerRun is the state of one worker.
type workerRun struct {
	lane   *Lane
	fault  bool                           // this connection could not be made: another is the lane's to decide
	leased map[*relay.Transaction]*leased // begun and not yet done: the current one, and the one whose envelope follows it
}

// next takes a waiting message, or nil.
func (w *workerRun) next() *relay.Transaction {
	if w.fault || w.lane.halted.Load() {
		return nil
	}
	select {
	case u := <-w.lane.work:
		w.leased[&u.tx] = u
		if w.lane.more.Load() && len(w.lane.work) <= int(w.lane.low.Load()) {
			w.lane.Kick()
		}
		return &u.tx
	default:
		return nil
	}
}

// done settles the outcome of a transaction.
func (w *workerRun) done(tx *relay.Transaction, res relay.Result) {
	u := w.leased[tx]
	delete(w.leased, tx)
	w.fault = w.fault || res.Fault != nil
	w.lane.signals <- w.lane.conclude(u, res)
}

// abandon concludes what was begun when the worker can go on no longer.
func (w *workerRun) abandon(err error) {
	for tx := range w.leased {
		w.done(tx, relay.Result{Err: err})
	}
}

// conclude turns a result into a settlement and its events, and says what it tells the lane.
func (l *Lane) conclude(u *leased, res relay.Result) signal {
	switch {
	case res.Fault != nil:
		l.release(u)
		return l.faultSignal(u, res.Fault)
	case res.Err != nil:
		res.Attempts = ownTrouble(&u.tx, res.Err, l.o.Now())
	}
	o := l.outcome(u, res.Attempts)
	l.settle(u, o)
	return o.signal
}

// faultSignal diagnoses a fault met before MAIL.
func (l *Lane) faultSignal(u *leased, a *relay.Attempt) signal {
	d := l.o.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host})
	crowded := a.Reply.Class() == 4 && (a.Stage == diagnose.StageGreeting || a.Stage == diagnose.StageHello)
	return signal{leased: u, fault: a, meaning: &d, crowded: crowded && !sessionOver(&d)}
}

// ownTrouble is the attempt that stands for a content that could not be read.
func ownTrouble(tx *relay.Transaction, err error, now time.Time) []relay.Attempt {
	kind := diagnose.NetLocal
	if errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrNotFound) {
		kind = diagnose.NetCorrupt
	}
	as := make([]relay.Attempt, len(tx.Recipients))
	for i := range as {
		as[i] = relay.Attempt{Time: now, Stage: diagnose.StageQueue, NetErr: diagnose.NetErr{Kind: kind, Text: err.Error()}}
	}
	return as
}

// release ends a lease with the message unchanged.
func (l *Lane) release(u *leased) {
	var err error
	if r, ok := l.o.Spool.(relay.Releaser); ok {
		err = r.Release(u.token)
	} else {
		err = l.o.Spool.Settle(context.Background(), u.token, relay.Settlement{Recipients: u.tx.Message.Recipients})
	}
	if err != nil {
		l.o.Log.Warn("cannot give a message back to the spool", "lane", l.o.Name, "id", u.tx.Message.ID, "err", err)
	}
}

// settle stores an outcome, and only then tells of it.
func (l *Lane) settle(u *leased, o *outcome) {
	// No deadline: an outcome that cannot be written is kept until it can, and its worker takes on nothing else.
	err := l.o.Spool.Settle(context.Background(), u.token, o.settlement)
	if err != nil {
		l.o.Log.Error("cannot settle an outcome", "lane", l.o.Name, "id", u.tx.Message.ID, "err", err)
		return
	}
	for i := range o.events {
		l.o.Record.Record(o.events[i])
	}
	if len(o.settlement.Notices) > 0 {
		l.o.NoticesDue()
	}
}
