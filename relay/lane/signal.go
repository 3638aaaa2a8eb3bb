package lane

import (
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// signal is a message from a worker to the lane's goroutine.
type signal struct {
	leased         *leased             // settled, or given back; nil otherwise
	exit           bool                // the worker ended
	postponed      bool                // the leased message waits for its sender: it was not offered
	accepted       bool                // the upstream took it
	domain         string              // of a recipient for whom it was accepted
	limit          *metLimit           // it met a limit
	heard          *metLimit           // another lane of the account met it
	accountRefused string              // the sender, if the last of refused is of our account at MAIL
	refused        []refusal           // for a reason of our own, at MAIL or later: no recipient fails for it
	rulings        []ruling            // of policies, about the whole lane
	fault          *relay.Attempt      // met before MAIL
	meaning        *diagnose.Diagnosis // of fault
	crowded        bool                // fault refuses an additional connection
	probeOK        bool                // a probe reached the upstream
	probeNow       bool                // a probe was asked for
	then           func(time.Time)     // what follows from an answer of the cluster
	probed         bool                // a probe has ended
}

// refusal is an attempt that was refused, and what that means.
type refusal struct {
	tried   *relay.Attempt
	meaning *diagnose.Diagnosis
}

// metLimit is a limit that a message met, for the lane's goroutine to judge.
type metLimit struct {
	limit
	encounter
	refusal
}

// noteAll handles all waiting signals, so that a burst of them costs one step.
func (l *Lane) noteAll() {
	for {
		select {
		case s := <-l.signals:
			l.note(s)
		default:
			return
		}
	}
}

// note handles a signal.
func (l *Lane) note(s signal) {
	now := l.o.Now()
	if s.then != nil {
		s.then(now)
		return
	}
	if s.probed {
		l.endProbe()
	}
	if s.exit {
		l.workers--
	}
	if s.leased != nil {
		delete(l.out, s.leased.token)
		l.answered(s.leased)
		if !s.postponed {
			l.ended(s.leased, now, s.fault == nil)
		}
	}
	l.letGo(now)
	for i := range s.refused {
		l.noteRefusal(&s.refused[i], now)
	}
	for i := range s.rulings {
		l.noteRuling(&s.rulings[i], now)
	}
	switch {
	case s.probeNow:
		l.outage.nextProbe, l.joint.askAt, l.ordered = now, now, ordered{}
		l.senders.tryNow(now)
	case s.heard != nil:
		l.noteHeard(s.heard, now)
	case s.probeOK:
		l.noteReached(now)
	case s.fault != nil:
		l.noteFault(s, now)
	default:
		l.noteOffered(s, now)
	}
	if s.leased != nil {
		l.senders.ended(senderOf(&s.leased.tx), s.leased.token, now)
	}
}

// noteOffered handles the outcome of a message that was offered or postponed.
func (l *Lane) noteOffered(s signal, now time.Time) {
	switch {
	case s.postponed:
		l.later--
	case s.accountRefused != "":
		l.noteAccount(s, now)
	case s.limit != nil:
		l.noteLimit(s.limit, s.leased, now)
	case s.accepted:
		sender := senderOf(&s.leased.tx)
		l.pace.success(now)
		l.limits.accept(sender, s.domain)
		l.senders.taken(sender)
		l.noteSuccess(s.leased, now)
	}
}
