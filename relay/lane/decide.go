package lane

import (
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// decision is what is done about one recipient after an attempt.
type decision struct {
	State   relay.State
	Next    time.Time // of a deferral
	Counts  bool      // the attempt uses up a step of the schedule
	HeldWhy string
	By      *Ruling // the policy that decided, or orders something beside; nil: none did
}

// policy is the name of the policy that decided.
func (d *decision) policy() string {
	if d.By == nil {
		return ""
	}
	return d.By.Policy
}

// decide says what becomes of a recipient. It is pure: r is the recipient before the attempt a, d is the
// diagnosis of a (nil if it was accepted), spread is a random number from 0 to 1.
//
// The class of the reply decides (RFC 5321, 4.2.1): 4yz and silence defer, 5yz fails. The diagnosis only
// moves the next attempt, or turns a refusal about our own account into a deferral.
func decide(p *Policy, now time.Time, m *relay.Message, r *relay.Recipient, a *relay.Attempt,
	d *diagnose.Diagnosis, spread float64) decision {
	switch {
	case a.Accepted():
		return decision{State: relay.Relayed, Counts: true}
	case !permanent(a) || ownFault(a, d):
		return deferral(p, now, m, r, a, d, spread)
	case m.Report:
		return decision{State: relay.Held, Counts: true, HeldWhy: relay.HeldReport + ": " + refusalOf(d)}
	}
	return decision{State: relay.Failed, Counts: true}
}

// permanent reports whether a is a permanent refusal: a 5yz reply, or a message that the upstream has
// announced it would not take.
func permanent(a *relay.Attempt) bool {
	switch a.NetErr.Kind {
	case diagnose.NetSizeExceeded, diagnose.NetUTF8Unavailable, diagnose.NetEightUnavailable,
		diagnose.NetCorrupt:
		return true
	}
	return a.Class() == 5 && !beforeMail(a.Stage)
}

// beforeMail reports whether a reply at stage s concerns us or the way to the upstream, and not a message.
func beforeMail(s diagnose.Stage) bool {
	switch s {
	case diagnose.StageConnect, diagnose.StageGreeting, diagnose.StageHello, diagnose.StageTLS,
		diagnose.StageAuth:
		return true
	}
	return false
}

// ownFault reports whether a 5yz is about us and not about the mail: our account or login at the upstream,
// what it may send, our way there, or a sender that the operator has yet to get allowed. Only this function
// decides it; the rules of package diagnose know the wordings and distinguish our account from a recipient's.
//
// After MAIL a recipient's server may have written the words. The message waits all the same: a wait is
// reported (to the operator at once, to the sender by a delay notice) and can be ended; a bounce cannot be
// taken back.
func ownFault(a *relay.Attempt, d *diagnose.Diagnosis) bool {
	if d == nil || a.Class() != 5 {
		return false
	}
	switch d.Scope {
	case diagnose.ScopeUpstream:
		return true
	case diagnose.ScopeSender:
		// A sender with a bad reputation is refused by a recipient's server, but at MAIL by the upstream
		// itself.
		reputation := d.Category == diagnose.SenderReputation
		return d.Owner == diagnose.OwnerOperator && (!reputation || a.Stage == diagnose.StageMail)
	}
	return false
}

// deferral is the next attempt after one that settled nothing, or the end of the attempts.
func deferral(p *Policy, now time.Time, m *relay.Message, r *relay.Recipient, a *relay.Attempt,
	d *diagnose.Diagnosis, spread float64) decision {
	expires := m.Arrived.Add(p.Expiry)
	if !now.Before(expires) {
		if m.Report {
			return decision{State: relay.Held, Counts: true, HeldWhy: relay.HeldReport + " in time"}
		}
		return decision{State: relay.Expired, Counts: true}
	}
	if d != nil && sessionOver(d) && !retriedSession(r) {
		return decision{State: relay.Deferred, Next: earlier(now.Add(sessionDelay(spread)), expires)}
	}
	if lim := limitOf(a, d); lim.asks {
		wait := limitDelay(p, lim.kind, d, limitsMet(r), spread)
		return decision{State: relay.Deferred, Next: earlier(now.Add(wait), expires)}
	}
	wait := p.delay(r.Attempts+1, spread)
	if a.Uncertain {
		wait *= uncertainFactor
	}
	if d != nil && d.RetryAfter > 0 {
		wait = named(p, d, spread)
	}
	// The last attempt is made at expiry, not one step of the schedule earlier.
	return decision{State: relay.Deferred, Next: earlier(now.Add(wait), expires), Counts: true}
}

// named is the delay that the reply itself asks for, within bounds. Jitter never makes it shorter.
func named(p *Policy, d *diagnose.Diagnosis, spread float64) time.Duration {
	wait := p.RetryAfter.clamp(time.Duration(d.RetryAfter))
	return wait + time.Duration(float64(wait)*p.Jitter*spread)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func refusalOf(d *diagnose.Diagnosis) string {
	if d == nil {
		return "refused"
	}
	return d.Cause
}

// Outlook is what a lane would decide about a refusal.
type Outlook struct {
	State  relay.State
	Wait   time.Duration // until the next attempt of a deferral, without its random part
	Policy string        // that decides, or orders something beside; "" when the reply decides alone
}

// Foresee says what a lane would decide about a refusal of m to r at once, for people who ask beforehand. by
// is the policy that fits, if any.
func Foresee(p Policy, m *relay.Message, r *relay.Recipient, a *relay.Attempt, d *diagnose.Diagnosis,
	by *Ruling) Outlook {
	dec, byPolicy := ruled(&p, m.Arrived, m, r, a, d, by, 0.5)
	if !byPolicy {
		dec = decide(&p, m.Arrived, m, r, a, d, 0.5)
	}
	o := Outlook{State: dec.State, Policy: dec.policy()}
	if dec.State == relay.Deferred {
		o.Wait = dec.Next.Sub(m.Arrived)
	}
	return o
}
