package lane

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// errPanicked stands for a panic while a message was being relayed.
var errPanicked = errors.New("internal error")

// worker drives connections to the upstream for as long as there is work. It settles each outcome before its
// connection goes on to the next content. So for each connection at most one message is relayed but not yet
// settled, which bounds the duplicates after a crash.
func (l *Lane) worker(ctx context.Context, account *Account) {
	w := &workerRun{lane: l, account: account, leased: map[*relay.Transaction]*leased{}}
	defer func() {
		if p := recover(); p != nil {
			l.o.Log.Error("panic while relaying", "lane", l.o.Name, "panic", p, "stack",
				string(debug.Stack()))
			w.abandon(fmt.Errorf("%w: %v", errPanicked, p))
		}
		account.disconnect(l)
		l.signals <- signal{exit: true}
	}()
	for first := w.next(); first != nil; first = w.next() {
		l.o.Upstream.Relay(ctx, first, w.next, w.done)
	}
}

// workerRun is the state of one worker.
type workerRun struct {
	lane    *Lane
	account *Account                       // whose connection it has
	fault   bool                           // met on this connection: the lane decides about another
	yields  bool                           // it gives up its connection, and was counted for that
	leased  map[*relay.Transaction]*leased // begun, not done: the current one and the next envelope
}

// next takes a waiting message, or nil.
func (w *workerRun) next() *relay.Transaction {
	if w.fault || w.yields || w.lane.halted.Load() {
		return nil
	}
	if w.yields = w.account.yields(w.lane); w.yields {
		return nil
	}
	select {
	case lm := <-w.lane.work:
		w.leased[&lm.tx] = lm
		if w.lane.more.Load() && len(w.lane.work) <= int(w.lane.low.Load()) {
			w.lane.Kick()
		}
		return &lm.tx
	default:
		return nil
	}
}

// done settles the outcome of a transaction.
func (w *workerRun) done(tx *relay.Transaction, res relay.Result) {
	lm := w.leased[tx]
	delete(w.leased, tx)
	w.fault = w.fault || res.Fault != nil
	w.lane.signals <- w.lane.conclude(lm, res)
}

// abandon concludes what was begun when the worker cannot go on.
func (w *workerRun) abandon(err error) {
	for tx := range w.leased {
		w.done(tx, relay.Result{Err: err})
	}
}

// conclude settles a result, records its events, and returns the signal for the lane.
func (l *Lane) conclude(lm *leased, res relay.Result) signal {
	switch {
	case res.Fault != nil:
		l.release(lm)
		return l.faultSignal(lm, res.Fault)
	case res.Err != nil:
		res.Attempts = unreadable(&lm.tx, res.Err, l.o.Now())
	}
	o := l.outcome(lm, res.Attempts)
	l.settle(lm, o)
	return o.signal
}

// faultSignal diagnoses a fault met before MAIL.
func (l *Lane) faultSignal(lm *leased, a *relay.Attempt) signal {
	d := l.o.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host})
	crowded := a.Reply.Class() == 4 && (a.Stage == diagnose.StageGreeting || a.Stage == diagnose.StageHello)
	return signal{leased: lm, fault: a, meaning: &d, crowded: crowded && !sessionOver(&d)}
}

// unreadable gives the attempts of a message whose content could not be read.
func unreadable(tx *relay.Transaction, err error, now time.Time) []relay.Attempt {
	kind := diagnose.NetLocal
	if errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrNotFound) {
		kind = diagnose.NetCorrupt
	}
	as := make([]relay.Attempt, len(tx.Recipients))
	for i := range as {
		as[i] = relay.Attempt{
			Time:   now,
			Stage:  diagnose.StageQueue,
			NetErr: diagnose.NetErr{Kind: kind, Text: err.Error()},
		}
	}
	return as
}

// release gives a message back unchanged.
func (l *Lane) release(lm *leased) {
	if err := lm.Release(); err != nil {
		l.o.Log.Warn("cannot give a message back to the spool", "lane", l.o.Name, "id", lm.tx.Message.ID,
			"err", err)
	}
}

// settle stores an outcome, and only then records its events.
func (l *Lane) settle(lm *leased, o *outcome) {
	// No deadline: the worker holds on to an outcome until it can be written, and takes no other work.
	err := lm.Settle(context.Background(), o.settlement)
	if err != nil {
		l.o.Log.Error("cannot settle an outcome", "lane", l.o.Name, "id", lm.tx.Message.ID, "err", err)
		if !lm.offer {
			return
		}
		// The session is told to send the message again. What the upstream took is relayed all the same.
		o.events = slices.DeleteFunc(o.events,
			func(e relay.Event) bool { return e.Kind != relay.EventRelayed })
	}
	if l.o.Relayed != nil && handedOver(lm, o) {
		after := *lm.tx.Message
		after.Recipients = o.settlement.Recipients
		l.o.Relayed(&after)
	}
	for i := range o.events {
		l.o.Record.Record(o.events[i])
	}
	if err == nil && o.moved > 0 {
		l.o.Moved(o.to.Upstream, o.moved)
	}
	if err == nil {
		l.tellOwed(o.settlement.Owed)
	}
}

// handedOver reports whether an attempt handed the message over for a recipient, or may have, or put an end
// to the doubt whether an earlier one had.
func handedOver(lm *leased, o *outcome) bool {
	for _, i := range lm.tx.Recipients {
		before, r := &lm.tx.Message.Recipients[i], &o.settlement.Recipients[i]
		if r.State == relay.Relayed || isUncertain(r.Last) || isUncertain(before.Last) {
			return true
		}
	}
	return false
}

func isUncertain(a *relay.Attempt) bool { return a != nil && a.Uncertain }
