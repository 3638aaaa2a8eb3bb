package lane

import (
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Policy is how long and how often a lane tries. It is plain data, read again for each decision, so that a
// changed configuration also applies to mail that already waits.
type Policy struct {
	Schedule   []time.Duration // delay after the first, second ... attempt; the last one repeats
	Expiry     time.Duration   // from arrival until a message is given up (RFC 5321, 4.5.4.1)
	Jitter     float64         // part of a delay that is random, 0 to 1: 0.1 spreads it by +-10 %
	RetryAfter Bounds          // limits of a delay that the upstream asks for
	DelayAfter time.Duration   // from arrival until a delay notice; 0 means none
	Collect    time.Duration   // for which the notices of a message are gathered into one DSN
}

// Bounds is a closed interval of durations.
type Bounds struct{ Min, Max time.Duration }

// clamp returns the value of b nearest to d.
func (b Bounds) clamp(d time.Duration) time.Duration {
	return max(b.Min, min(d, b.Max))
}

// uncertainFactor lengthens the delay after an end of data that was not answered: the message may have
// arrived, and a server that was only slow should have finished before it is offered again.
const uncertainFactor = 3

// delay is the time from attempt number n, counted from 1, to the next one. spread is a random number from 0
// to 1.
func (p *Policy) delay(n int, spread float64) time.Duration {
	if len(p.Schedule) == 0 {
		return time.Minute
	}
	d := p.Schedule[min(max(n, 1), len(p.Schedule))-1]
	return d + time.Duration(float64(d)*p.Jitter*(2*spread-1))
}

// Action is what a ruling does about a refusal.
type Action string

// The actions of rulings.
const (
	ActionRetry Action = "retry" // by the ruling's schedule, a 5yz too; after it the reply decides
	ActionFail  Action = "fail"  // at once, a 4yz too
	ActionHold  Action = "hold"  // until the operator releases it
	ActionRoute Action = "route" // through another upstream
	ActionSlow  Action = "slow"  // the reply decides; the lane sends less for a while
	ActionPause Action = "pause" // the message waits; the lane pauses for a while

	ActionSuppress Action = "suppress" // the reply decides; no more mail to the address for a while
	ActionNotify   Action = "notify"   // the reply decides
)

// Ruling is what the operator ordered for a refusal: see Options.Ruling. It is never changed.
type Ruling struct {
	Policy   string // its name
	Action   Action
	Schedule []time.Duration // of ActionRetry: delay after the first, second ... attempt
	For      time.Duration   // of ActionSlow, ActionPause and ActionSuppress
	Rate     Rate            // of ActionSlow: most messages
	Upstream string          // of ActionRoute
	Notify   string          // address of an operator who is told, by a report; "" tells nobody
}

// ruled is the decision of a ruling, if it decides: then the reply does not. A ruling has no say about mail
// that may have been taken, at expiry, about a report of our own, or about what is not an answer to the mail
// (anything before MAIL).
func ruled(p *Policy, now time.Time, m *relay.Message, r *relay.Recipient, a *relay.Attempt,
	d *diagnose.Diagnosis, by *Ruling, spread float64) (decision, bool) {
	expires := m.Arrived.Add(p.Expiry)
	if by == nil || a.Accepted() || a.Uncertain || m.Report || beforeMail(a.Stage) || !now.Before(expires) {
		return decision{}, false
	}
	jittered := func(d time.Duration) time.Duration {
		return d + time.Duration(float64(d)*p.Jitter*(2*spread-1))
	}
	switch by.Action {
	case ActionRetry:
		if r.Attempts >= len(by.Schedule) {
			return decision{}, false
		}
		next := now.Add(jittered(by.Schedule[r.Attempts]))
		return decision{State: relay.Deferred, Next: earlier(next, expires), Counts: true, By: by}, true
	case ActionFail:
		if blameless(a, d) {
			return decision{}, false
		}
		return decision{State: relay.Failed, Counts: true, By: by}, true
	case ActionHold:
		why := "policy " + by.Policy + ": " + refusalOf(d)
		return decision{State: relay.Held, Counts: true, HeldWhy: why, By: by}, true
	case ActionRoute:
		if by.Upstream == m.Lane {
			return decision{}, false
		}
		return decision{State: relay.Deferred, Next: now, By: by}, true
	case ActionPause:
		// Not at the end of the pause: other mail shows first whether the upstream takes any.
		next := now.Add(by.For + jittered(p.delay(r.Attempts+1, 0.5)))
		return decision{State: relay.Deferred, Next: earlier(next, expires), Counts: true, By: by}, true
	}
	dec := decide(p, now, m, r, a, d, spread)
	dec.By = by
	return dec, true
}

// blameless reports whether a refusal is about us or our account, for which no mail is ever bounced, whatever
// a policy says.
func blameless(a *relay.Attempt, d *diagnose.Diagnosis) bool {
	return a.Class() == 0 || d == nil || d.Scope == diagnose.ScopeUpstream || ownFault(a, d)
}

// ordered is the lower rate that a policy ordered, for a while. It belongs to the lane's goroutine.
type ordered struct {
	by    *Ruling
	why   refusal
	since time.Time
	until time.Time
}

// limit is the rate to keep to: the configured one, or less while less is ordered.
func (o *ordered) limit(now time.Time, configured Rate) Rate {
	if o.by == nil || !now.Before(o.until) || now.Before(o.since) {
		o.by = nil
		return configured
	}
	if most := configured.PerSecond(); most > 0 && most <= o.by.Rate.PerSecond() {
		return configured
	}
	return o.by.Rate
}

// ruling is an applied ruling that concerns the whole lane, for its goroutine.
type ruling struct {
	by *Ruling
	refusal
}

// noteRuling slows or pauses the lane as a policy orders.
func (l *Lane) noteRuling(r *ruling, now time.Time) {
	switch r.by.Action {
	case ActionPause:
		l.pause(now, pauseCause{refusal: r.refusal, bounds: Bounds{r.by.For, r.by.For}, accountRefused: true,
			policy: r.by.Policy})
	case ActionSlow:
		o := &l.ordered
		if o.by != r.by || !now.Before(o.until) {
			o.since = now
			note := "policy " + r.by.Policy + ": sending more slowly for " + r.by.For.String()
			l.eventBy(r.by.Policy, "slowed", r.meaning, r.tried, note)
		}
		o.by, o.why, o.until = r.by, r.refusal, now.Add(r.by.For)
	}
}
