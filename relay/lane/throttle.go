package lane

import "time"

// doubtFor is how long a quota that one message met may be its own affair without the operator's being told.
const doubtFor = 2 * time.Second

// noteLimit takes in that a message met a limit: it slows or pauses the lane or one sender, or is that
// message's own affair.
func (l *Lane) noteLimit(h *metLimit, u *leased, now time.Time) {
	h.at = now
	whose := l.limits.judge(h.limit, h.encounter, l.pace.lowered())
	if whose == senderLimit {
		l.pauseSender(h, u.token, now)
		return
	}
	switch h.kind {
	case quotaLimit:
		l.noteQuota(h, whose, u, now)
	case connectionLimit:
		if whose == laneLimit {
			l.slow(l.pace.crowd(now, l.workers-1), h.refusal, now)
		}
	case rateLimit:
		if whose == laneLimit {
			l.slow(l.pace.throttle(now), h.refusal, now)
		}
	}
}

// slow takes in that less is sent from now on, if lowered says so.
func (l *Lane) slow(lowered bool, why refusal, now time.Time) {
	if !lowered {
		return
	}
	s := &l.slowness
	if s.since.IsZero() {
		s.since = now
	}
	s.refusal = why
	if l.worthReporting("slowed", why.meaning, now) {
		s.reported = true
		l.event("slowed", why.meaning, why.tried, "the upstream asks for less: sending more slowly")
	}
}

// noteFullSpeed takes in that as much is sent again as the configuration allows.
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

// noteQuota takes in that a message met a used-up quota. The first one only puts the lane in doubt: from then
// on one message at a time is offered, and the first that is taken, or meets the quota too, settles it. So
// all others wait for one message if it was a recipient's server that spoke of a quota, and one more content
// is wasted if it was the upstream. A recipient that meets it again settles nothing.
func (l *Lane) noteQuota(h *metLimit, whose owner, u *leased, now time.Time) {
	t := &l.outage
	switch {
	case t.paused:
	case t.canary && u.seq > t.offered && (t.sure || whose == laneLimit):
		l.senders.clear()
		l.pause(now, pauseCause{refusal: h.refusal, bounds: quotaProbe(), accountRefused: true, fault: h.tried})
	case !t.canary && whose == laneLimit:
		t.canary, t.accountRefused, t.since, t.offered = true, true, now, l.taken
		t.meaning, t.reply, t.fault = h.meaning, saidIn(h.tried), h.tried
		t.nextProbe = now.Add(quotaProbe().Min)
		l.giveBack()
	case t.canary:
		t.nextProbe = now.Add(quotaProbe().Min)
	}
}

// doubt tells the operator that the lane is paused when nothing has settled a doubt for a while, and returns
// how long to wait for that.
func (l *Lane) doubt(now time.Time) time.Duration {
	t := &l.outage
	if !t.canary || t.reported {
		return lookAgain
	}
	if left := doubtFor - now.Sub(t.since); left > 0 && left <= doubtFor {
		return left
	}
	l.reportPause(t.fault)
	return lookAgain
}
