package lane

import (
	"context"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// outage is why and since when a lane is paused: a fault of our own or on the way to the upstream, for which
// no mail is bounced. It belongs to the lane's goroutine.
type outage struct {
	paused         bool
	probing        bool   // a probe is under way
	canary         bool   // one message is let through to see whether the upstream accepts our account again
	accountRefused bool   // ... or its quota is used up: only a message proves that it is over
	sure           bool   // ... beyond doubt: more than one message met it
	reported       bool   // the pause is recorded
	offered        uint64 // the last message leased before: those under way then prove nothing
	since          time.Time
	nextProbe      time.Time
	wait           time.Duration // until nextProbe, when it was set
	interval       time.Duration
	swept          time.Time // when the waiting mail was last searched for expired messages
	sweptTo        string    // the last message looked at, while a search goes on
	meaning        *diagnose.Diagnosis
	tried          *relay.Attempt // that met it
	reply          string
	policy         string          // that ordered the pause; "" when none did
	fault          *relay.Attempt  // to report for mail that expires meanwhile
	senders        map[string]bool // for which the account was refused since the last success
}

// refusedSenders is for how many distinct senders the account must be refused, with no success between,
// before the lane pauses: one alone proves nothing.
const refusedSenders = 3

// tokenUnavailable is the reason of a fault of the token endpoint itself: it is down, slow or out of reach.
const tokenUnavailable diagnose.Reason = "oauth_unavailable"

// noteFault handles a fault met before MAIL.
func (l *Lane) noteFault(s signal, now time.Time) {
	if s.crowded && l.workers > 1 {
		// Other connections work: there are too many of them.
		why := refusal{s.fault, s.meaning}
		l.account.tell(l, &metLimit{limit: limit{kind: connectionLimit}, refusal: why})
		l.slow(l.pace.crowd(now, l.workers-1), why, now)
		return
	}
	account := s.fault.Stage == diagnose.StageMail // of an API that spoke of the account: see relay.Result
	l.pause(now, pauseCause{refusal: refusal{s.fault, s.meaning}, bounds: l.probing(s.fault), fault: s.fault,
		accountRefused: account})
}

// probing is how often the upstream is tried after a fault.
func (l *Lane) probing(fault *relay.Attempt) Bounds {
	set := l.o.Settings()
	switch {
	case fault.NetErr.Kind == diagnose.NetOAuthToken && fault.NetErr.Reason == tokenUnavailable:
		return set.ProbeToken // nobody's credentials were refused
	case fault.Stage == diagnose.StageAuth || fault.Stage == diagnose.StageMail:
		return set.ProbeAuth
	}
	return set.Probe
}

// noteRefusal reports to the operator that mail waits because of our account, though the lane does not pause.
func (l *Lane) noteRefusal(r *refusal, now time.Time) {
	if l.shouldReport("refused", r.meaning, now) {
		why := *r
		l.once("refused "+string(r.meaning.Reason), func() {
			l.event("refused", why.meaning, why.tried,
				"the upstream refuses mail because of our account; the refused mail waits")
		})
	}
}

// noteAccount handles a refusal of our account, at MAIL, for one sender.
func (l *Lane) noteAccount(s signal, now time.Time) {
	o := &l.outage
	if l.refusedFor(s.accountRefused) {
		l.joint.senders = l.joint.Coordination != nil
	}
	if len(o.senders) >= refusedSenders || o.canary && o.sure {
		last := s.refused[len(s.refused)-1]
		l.pause(now, pauseCause{refusal: last, bounds: l.o.Settings().ProbeAuth, accountRefused: true})
	}
}

// refusedFor adds a sender for which the account was refused, and reports whether it is new.
func (l *Lane) refusedFor(sender string) bool {
	o := &l.outage
	if o.senders == nil {
		o.senders = map[string]bool{}
	}
	if o.senders[sender] || len(o.senders) >= refusedSenders {
		return false
	}
	o.senders[sender] = true
	return true
}

// noteSuccess handles a message that the upstream took.
func (l *Lane) noteSuccess(lm *leased, now time.Time) {
	if len(l.outage.senders) > 0 {
		clear(l.outage.senders)
		l.joint.senders = l.joint.Coordination != nil
	}
	if l.outage.canary && lm.seq > l.outage.offered {
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
	fault          *relay.Attempt // the last attempt of mail that expires meanwhile; nil: its own
	policy         string         // that orders it
}

// pause stops the lane. The first pause is an event; failing probes only make the interval grow.
func (l *Lane) pause(now time.Time, cause pauseCause) {
	o := &l.outage
	if o.paused && !o.probing {
		return // another connection met the same fault; the interval grows once for each probe
	}
	if !o.paused && !o.canary {
		o.interval, o.since = 0, now
	}
	o.interval = cause.bounds.clamp(2 * o.interval)
	o.paused, o.probing, o.canary, o.accountRefused = true, false, false, cause.accountRefused
	o.sure, o.offered = cause.accountRefused, l.taken
	o.meaning, o.reply, o.fault, o.policy = cause.meaning, saidIn(cause.tried), cause.fault, cause.policy
	o.wait = o.interval + time.Duration(l.o.Spread()*float64(o.interval)/10)
	if cause.meaning.RetryAfter > 0 {
		policy := l.o.Settings().Policy
		o.wait = max(o.wait, named(&policy, cause.meaning, l.o.Spread()))
	}
	o.nextProbe, o.tried = now.Add(o.wait), cause.tried
	l.halted.Store(true)
	l.giveBack()
	l.reportPause()
}

// reportPause records that the lane is paused, once. Of several relays the first one does.
func (l *Lane) reportPause() {
	o, j := &l.outage, &l.joint
	why := refusal{o.tried, o.meaning}
	if j.Coordination != nil {
		if j.changed = true; !o.reported {
			o.reported, j.paused = true, &why
		}
		return
	}
	if !o.reported {
		o.reported = true
		l.recordPause(why)
	}
}

// recordPause records the event.
func (l *Lane) recordPause(why refusal) {
	note := "mail waits; none is bounced for this"
	if l.outage.policy != "" {
		note = "policy " + l.outage.policy + ": mail waits"
	}
	l.eventBy(l.outage.policy, "paused", why.meaning, why.tried, note)
}

// probe checks, when it is time, whether the upstream can be reached again, and returns how long to wait.
func (l *Lane) probe(ctx context.Context, now time.Time) time.Duration {
	o := &l.outage
	if o.probing {
		return lookAgain
	}
	if wait := o.nextProbe.Sub(now); wait > 0 && wait <= o.wait { // longer only if the clock was set back
		return min(wait, lookAgain)
	}
	if ok, wait := l.mayProbe(ctx, now); !ok {
		return wait
	}
	if o.accountRefused {
		l.tryOne(now)
		return time.Millisecond
	}
	if !l.connectProbe() {
		return fillAgain // kicked when there is a connection
	}
	o.probing = true
	go func() {
		a := l.o.Upstream.Probe(ctx)
		if ctx.Err() != nil {
			return
		}
		l.signals <- l.probed(a)
	}()
	return lookAgain
}

// connectProbe takes a connection for a probe, where the account is divided among several relays.
func (l *Lane) connectProbe() bool {
	if !l.account.isShared() {
		return true
	}
	l.joint.probing = l.account
	return l.account.connect(l, 1)
}

// endProbe gives the connection of a probe back.
func (l *Lane) endProbe() {
	if a := l.joint.probing; a != nil {
		l.joint.probing = nil
		a.disconnect(l)
	}
}

// noteReached handles a probe that reached the upstream.
func (l *Lane) noteReached(now time.Time) {
	if l.outage.paused {
		l.resume(now)
	}
}

// probed is the signal for the result of a probe.
func (l *Lane) probed(a *relay.Attempt) signal {
	if a == nil {
		return signal{probeOK: true, probed: true}
	}
	d := l.o.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host})
	return signal{fault: a, meaning: &d, probed: true}
}

// tryOne lets one message through a lane that was paused because of the account.
func (l *Lane) tryOne(now time.Time) {
	l.outage.paused, l.outage.canary = false, true
	l.halted.Store(false)
}

// resume lets all waiting mail go.
func (l *Lane) resume(now time.Time) {
	o := &l.outage
	was, reported, doubted := o.since, o.reported, refusal{o.fault, o.meaning}
	l.endOutage()
	switch {
	case !reported:
		l.noteRefusal(&doubted, now) // it concerned only some mail, which waits all the same
	case l.joint.Coordination != nil:
		l.joint.changed, l.joint.resumed = true, max(now.Sub(was), 1)
	default:
		l.recordResume(now.Sub(was))
	}
	l.Kick()
}

// endOutage lets all waiting mail go, without a word.
func (l *Lane) endOutage() {
	o := &l.outage
	*o = outage{senders: o.senders}
	clear(o.senders)
	l.halted.Store(l.draining)
}

// recordResume records the end of a pause.
func (l *Lane) recordResume(after time.Duration) {
	l.event("resumed", nil, nil, "the upstream takes mail again after "+after.Round(time.Second).String())
}

// Probe makes a paused lane try its upstream now, for instance after a change of configuration, and ends what
// a policy ordered for the lane. It is safe for concurrent use.
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
		case lm := <-l.work:
			l.dismiss(lm, l.o.Now())
		default:
			l.returnParked(l.o.Now())
			return
		}
	}
}

// dismiss returns a message that was not begun.
func (l *Lane) dismiss(lm *leased, now time.Time) {
	delete(l.out, lm.token)
	l.answered(lm)
	l.ended(lm, now, false)
	l.senders.ended(senderOf(&lm.tx), lm.token, now)
	l.release(lm)
}
