package lane

import "time"

// doubtFor is how long a quota that one message met may be in doubt before it is reported to the operator.
const doubtFor = 2 * time.Second

// noteLimit handles a limit that a message met: it slows or pauses the lane or one sender, or concerns that
// message alone.
func (l *Lane) noteLimit(h *metLimit, lm *leased, now time.Time) {
	h.at = now
	whose := l.limits.judge(h.limit, h.encounter, l.pace.lowered())
	if whose == senderLimit {
		l.pauseSender(h, lm.token, now)
		return
	}
	switch h.kind {
	case quotaLimit:
		l.noteQuota(h, whose, lm, now)
	case connectionLimit:
		if whose == laneLimit {
			l.account.tell(l, h)
			l.slow(l.pace.crowd(now, l.workers-1), h.refusal, now)
		}
	case rateLimit:
		if whose == laneLimit {
			l.account.tell(l, h)
			l.slow(l.pace.throttle(now), h.refusal, now)
		}
	}
}

// slow reports that the lane now sends less, if lowered says that it does.
func (l *Lane) slow(lowered bool, why refusal, now time.Time) {
	if !lowered {
		return
	}
	s := &l.slowness
	if s.since.IsZero() {
		s.since = now
	}
	s.refusal = why
	if l.shouldReport("slowed", why.meaning, now) {
		s.reported = true
		l.once("slowed "+string(why.meaning.Reason), func() {
			l.event("slowed", why.meaning, why.tried, "the upstream asks for less: sending more slowly")
		})
	}
}

// noteFullSpeed reports that the lane sends at its configured speed again.
func (l *Lane) noteFullSpeed(now time.Time) {
	s := &l.slowness
	if s.since.IsZero() || l.pace.lowered() {
		return
	}
	if s.reported {
		after := now.Sub(s.since).Round(time.Second).String()
		l.o.Log.Info("upstream at full speed again", "upstream", l.o.Name, "after", after)
	}
	*s = slowness{}
}

// noteQuota handles a used-up quota that a message met. The first one only puts the lane in doubt: from then
// on one message at a time is offered, and the first that is taken, or that meets the quota too, settles it.
// So if a recipient's server spoke of a quota, all other mail waits for one message; if it was the upstream,
// one more content is wasted. A recipient that meets the quota again settles nothing.
func (l *Lane) noteQuota(h *metLimit, whose owner, lm *leased, now time.Time) {
	o := &l.outage
	switch {
	case o.paused:
	case o.canary && lm.seq > o.offered && (o.sure || whose == laneLimit):
		l.senders.clear()
		l.pause(now,
			pauseCause{refusal: h.refusal, bounds: quotaProbe(), accountRefused: true, fault: h.tried})
	case !o.canary && whose == laneLimit:
		o.canary, o.accountRefused, o.since, o.offered = true, true, now, l.taken
		o.meaning, o.reply, o.fault, o.tried = h.meaning, saidIn(h.tried), h.tried, h.tried
		o.nextProbe = now.Add(quotaProbe().Min)
		l.giveBack()
	case o.canary:
		o.nextProbe = now.Add(quotaProbe().Min)
	}
}

// doubt reports to the operator that the lane is paused when a doubt has lasted for doubtFor, and returns how
// long to wait for that.
func (l *Lane) doubt(now time.Time) time.Duration {
	o := &l.outage
	if !o.canary || o.reported {
		return lookAgain
	}
	if left := doubtFor - now.Sub(o.since); left > 0 && left <= doubtFor {
		return left
	}
	if l.joint.Coordination != nil {
		l.pauseInDoubt(now)
		return time.Millisecond
	}
	l.reportPause()
	return lookAgain
}

// pauseInDoubt pauses a lane whose quota has been in doubt for long, so that of all relays one tries a
// message, which it does at once.
func (l *Lane) pauseInDoubt(now time.Time) {
	o := &l.outage
	l.pause(now, pauseCause{refusal: refusal{o.tried, o.meaning}, bounds: quotaProbe(), accountRefused: true,
		fault: o.fault})
	o.wait, o.nextProbe = 0, now
}
