package relay

import (
	"context"
	"time"

	"mailwhy/diagnose"
)

// trouble is what stands between a lane and its upstream: faults of our own or of the way there, for which nobody is
// bounced. It belongs to the lane's goroutine.
type trouble struct {
	paused    bool
	probing   bool // a probe is under way
	trial     bool // one message is let through, to see whether the account is served again
	account   bool // it was the account that was refused at MAIL: a connection proves nothing, only a message does
	since     time.Time
	nextProbe time.Time
	wait      time.Duration // until nextProbe, when it was set
	interval  time.Duration
	swept     time.Time // when what waits was last looked through for what has expired
	meaning   *diagnose.Diagnosis
	fault     *Attempt
	senders   map[string]bool // refused for the account since the last success
}

// accountSenders is how many distinct senders must meet a refusal of the account, with no success between, before the
// lane pauses: one alone proves nothing.
const accountSenders = 3

// tellAgain is how long the operator is not told again of the same state for the same reason.
const tellAgain = time.Hour

// noteFault takes in that the upstream could not be brought to MAIL.
func (l *Lane) noteFault(s signal, now time.Time) {
	if s.throttle && l.workers > 1 {
		// Others are being served: it is the number of connections that is too high.
		l.noteThrottle(s, now)
		return
	}
	l.pause(now, s)
}

// noteRefusal tells the operator that mail waits because of our account, though the lane does not pause.
func (l *Lane) noteRefusal(r *refusal, now time.Time) {
	if l.tell("refused", r.meaning, now) {
		l.event("refused", r.meaning, r.tried, "the upstream refuses mail for a reason of our own; what it refuses waits")
	}
}

// tell reports whether the operator is to be told that the lane is in a state that many messages meet.
func (l *Lane) tell(state string, d *diagnose.Diagnosis, now time.Time) bool {
	what := state + " " + string(d.Reason)
	last, before := l.told[what]
	if since := now.Sub(last); before && since >= 0 && since < tellAgain {
		return false
	}
	l.told[what] = now
	return true
}

// noteAccount takes in that the upstream refused our account, at MAIL, for one sender.
func (l *Lane) noteAccount(s signal, now time.Time) {
	t := &l.trouble
	if t.senders == nil {
		t.senders = map[string]bool{}
	}
	if len(t.senders) < accountSenders {
		t.senders[s.account] = true
	}
	if len(t.senders) >= accountSenders || t.trial {
		l.pause(now, s)
	}
}

// noteSuccess takes in that a message went through.
func (l *Lane) noteSuccess(now time.Time) {
	clear(l.trouble.senders)
	if l.trouble.trial {
		l.resume(now)
	}
	if !l.trouble.paused {
		l.trouble.interval = 0
	}
}

// pause stops the lane. The first pause is an event; failing probes only make the interval grow.
func (l *Lane) pause(now time.Time, s signal) {
	t := &l.trouble
	first := !t.paused && !t.trial
	tried, meaning := s.fault, s.meaning
	if s.account != "" {
		last := s.refused[len(s.refused)-1]
		tried, meaning = last.tried, last.meaning
	}
	if t.paused && !t.probing {
		return // another connection met the same fault; the interval grows once a probe
	}
	set := l.o.Settings()
	bounds := set.Probe
	if s.account != "" || s.fault.Stage == diagnose.StageAuth {
		bounds = set.ProbeAuth
	}
	t.interval = bounds.clamp(2 * t.interval)
	if first {
		t.interval, t.since = bounds.Min, now
	}
	t.paused, t.probing, t.trial, t.account = true, false, false, s.account != ""
	t.meaning, t.fault = meaning, s.fault
	t.wait = t.interval + time.Duration(l.o.Spread()*float64(t.interval)/10)
	if meaning.RetryAfter > 0 {
		t.wait = max(t.wait, named(&set.Policy, meaning, l.o.Spread()))
	}
	t.nextProbe = now.Add(t.wait)
	l.halted.Store(true)
	l.giveBack()
	if first {
		l.event("paused", meaning, tried, "mail waits; nobody is bounced for this")
	}
}

// probe sees whether the upstream can be reached again, when it is time, and returns how long to wait.
func (l *Lane) probe(ctx context.Context, now time.Time, s LaneSettings) time.Duration {
	t := &l.trouble
	if t.probing {
		return lookAgain
	}
	if wait := t.nextProbe.Sub(now); wait > 0 && wait <= t.wait { // longer only if the clock was set back
		return min(wait, lookAgain)
	}
	if t.account {
		l.tryOne(now)
		return time.Millisecond
	}
	t.probing = true
	go func() {
		a := l.o.Upstream.Probe(ctx)
		if ctx.Err() != nil {
			return
		}
		l.signals <- l.probed(a)
	}()
	return lookAgain
}

// noteReached takes in that a probe reached the upstream.
func (l *Lane) noteReached(now time.Time) {
	if l.trouble.paused {
		l.resume(now)
	}
}

// probed is the signal for the result of a probe.
func (l *Lane) probed(a *Attempt) signal {
	if a == nil {
		return signal{probeOK: true}
	}
	d := l.o.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host})
	return signal{fault: a, meaning: &d}
}

// tryOne lets one message through a lane that was paused for its account.
func (l *Lane) tryOne(now time.Time) {
	l.trouble.paused, l.trouble.trial = false, true
	l.halted.Store(false)
}

// resume lets everything that waits go.
func (l *Lane) resume(now time.Time) {
	t := &l.trouble
	was := t.since
	*t = trouble{senders: t.senders}
	clear(t.senders)
	l.halted.Store(l.draining)
	l.event("resumed", nil, nil, "the upstream takes mail again after "+now.Sub(was).Round(time.Second).String())
	l.Kick()
}

// Probe makes a paused lane try its upstream now, as after a change of configuration. It is safe for concurrent use.
func (l *Lane) Probe() {
	select {
	case l.signals <- signal{probeNow: true}:
	default: // the lane is busy with outcomes, so it is not paused
	}
}

// giveBack returns the messages that were leased but not begun, unchanged.
func (l *Lane) giveBack() {
	for {
		select {
		case u := <-l.work:
			delete(l.out, u.token)
			l.release(u)
		default:
			return
		}
	}
}
