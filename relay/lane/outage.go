package lane

import (
	"context"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// outage is what stands between a lane and its upstream: faults of our own or of the way there, for which
// nobody is bounced. It belongs to the lane's goroutine.
type outage struct {
	paused         bool
	probing        bool   // a probe is under way
	canary         bool   // one message is let through, to see whether the account is served again
	accountRefused bool   // it was the account or its quota that was refused: only a message proves that it is over
	sure           bool   // ... no doubt of it: more than one met it
	reported       bool   // the pause is recorded
	offered        uint64 // the last message leased before: what becomes of those under way proves nothing
	since          time.Time
	nextProbe      time.Time
	wait           time.Duration // until nextProbe, when it was set
	interval       time.Duration
	swept          time.Time // when what waits was last looked through for what has expired
	sweptTo        string    // id of the last message that was looked at, while that goes on
	meaning        *diagnose.Diagnosis
	reply          string
	fault          *relay.Attempt  // to report for what expires meanwhile
	senders        map[string]bool // refused for the account since the last success
}

// refusedSenders is how many distinct senders must meet a refusal of the account, with no success between,
// before the lane pauses: one alone proves nothing.
const refusedSenders = 3

// noteFault takes in that the upstream could not be brought to MAIL.
func (l *Lane) noteFault(s signal, now time.Time) {
	if s.crowded && l.workers > 1 {
		// Others are being served: it is the number of connections that is too high.
		l.slow(l.pace.crowd(now, l.workers-1), refusal{s.fault, s.meaning}, now)
		return
	}
	bounds := l.o.Settings().Probe
	if s.fault.Stage == diagnose.StageAuth {
		bounds = l.o.Settings().ProbeAuth
	}
	l.pause(now, pauseCause{refusal: refusal{s.fault, s.meaning}, bounds: bounds, fault: s.fault})
}

// noteRefusal tells the operator that mail waits because of our account, though the lane does not pause.
func (l *Lane) noteRefusal(r *refusal, now time.Time) {
	if l.worthReporting("refused", r.meaning, now) {
		l.event("refused", r.meaning, r.tried, "the upstream refuses mail for a reason of our own; what it refuses waits")
	}
}

// noteAccount takes in that the upstream refused our account, at MAIL, for one sender.
func (l *Lane) noteAccount(s signal, now time.Time) {
	t := &l.outage
	if t.senders == nil {
		t.senders = map[string]bool{}
	}
	if len(t.senders) < refusedSenders {
		t.senders[s.accountRefused] = true
	}
	if len(t.senders) >= refusedSenders || t.canary && t.sure {
		last := s.refused[len(s.refused)-1]
		l.pause(now, pauseCause{refusal: last, bounds: l.o.Settings().ProbeAuth, accountRefused: true})
	}
}

// noteSuccess takes in that a message went through.
func (l *Lane) noteSuccess(u *leased, now time.Time) {
	clear(l.outage.senders)
	if l.outage.canary && u.seq > l.outage.offered {
		l.resume(now)
	}
	if !l.outage.paused {
		l.outage.interval = 0
	}
}

// pauseCause is why a lane pauses.
type pauseCause struct {
	refusal
	bounds         Bounds         // of the time between two probes
	accountRefused bool           // only a message proves that it is over
	fault          *relay.Attempt // to report for what expires meanwhile; nil when it is about some mail only
}

// pause stops the lane. The first pause is an event; failing probes only make the interval grow.
func (l *Lane) pause(now time.Time, o pauseCause) {
	t := &l.outage
	if t.paused && !t.probing {
		return // another connection met the same fault; the interval grows once a probe
	}
	if !t.paused && !t.canary {
		t.interval, t.since = 0, now
	}
	t.interval = o.bounds.clamp(2 * t.interval)
	t.paused, t.probing, t.canary, t.accountRefused = true, false, false, o.accountRefused
	t.sure, t.offered = o.accountRefused, l.taken
	t.meaning, t.reply, t.fault = o.meaning, saidIn(o.tried), o.fault
	t.wait = t.interval + time.Duration(l.o.Spread()*float64(t.interval)/10)
	if o.meaning.RetryAfter > 0 {
		policy := l.o.Settings().Policy
		t.wait = max(t.wait, named(&policy, o.meaning, l.o.Spread()))
	}
	t.nextProbe = now.Add(t.wait)
	l.halted.Store(true)
	l.giveBack()
	l.reportPause(o.tried)
}

// reportPause records that the lane is paused, once.
func (l *Lane) reportPause(tried *relay.Attempt) {
	if t := &l.outage; !t.reported {
		t.reported = true
		l.event("paused", t.meaning, tried, "mail waits; nobody is bounced for this")
	}
}

// probe sees whether the upstream can be reached again, when it is time, and returns how long to wait.
func (l *Lane) probe(ctx context.Context, now time.Time, s Settings) time.Duration {
	t := &l.outage
	if t.probing {
		return lookAgain
	}
	if wait := t.nextProbe.Sub(now); wait > 0 && wait <= t.wait { // longer only if the clock was set back
		return min(wait, lookAgain)
	}
	if t.accountRefused {
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
	if l.outage.paused {
		l.resume(now)
	}
}

// probed is the signal for the result of a probe.
func (l *Lane) probed(a *relay.Attempt) signal {
	if a == nil {
		return signal{probeOK: true}
	}
	d := l.o.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host})
	return signal{fault: a, meaning: &d}
}

// tryOne lets one message through a lane that was paused for its account.
func (l *Lane) tryOne(now time.Time) {
	l.outage.paused, l.outage.canary = false, true
	l.halted.Store(false)
}

// resume lets everything that waits go.
func (l *Lane) resume(now time.Time) {
	t := &l.outage
	was, reported, doubted := t.since, t.reported, refusal{t.fault, t.meaning}
	*t = outage{senders: t.senders}
	clear(t.senders)
	l.halted.Store(l.draining)
	if reported {
		after := now.Sub(was).Round(time.Second).String()
		l.event("resumed", nil, nil, "the upstream takes mail again after "+after)
	} else {
		l.noteRefusal(&doubted, now) // it was some mail's own affair, which waits all the same
	}
	l.Kick()
}

// Probe makes a paused lane try its upstream now, as after a change of configuration. It is safe for
// concurrent use.
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
			l.senders.ended(senderOf(&u.tx), u.token, l.o.Now())
			l.release(u)
		default:
			return
		}
	}
}
