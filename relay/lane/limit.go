package lane

import (
	"math"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// limit is a limit that a message met at the upstream: its kind, and whom the reply itself blames.
type limit struct {
	kind  limitKind
	alone bool // the reply is about us: one is enough to slow the lane
	asks  bool // its words or its category ask for less; otherwise only the code does
	owned bool // its words say that it is this sender's limit
}

// limitKind is what is limited.
type limitKind int

// The kinds of limits.
const (
	noLimit         limitKind = iota
	rateLimit                 // messages in a short time
	connectionLimit           // connections at once
	quotaLimit                // messages an hour, a day or longer: waiting for seconds does not help
)

// limitOf is the limit that a refused attempt met; noLimit for everything that concerns the message alone. It
// is pure.
//
// The stage says whose limit it is. At MAIL no recipient is known yet, and 421 and 432 end the session or
// count its connections (RFC 5321, 3.8): there the upstream means us. After RCPT and after the content the
// words may be about one recipient or domain, or come from its server, even if they read as if they were
// about our account; then only several messages together show it (see limits).
func limitOf(a *relay.Attempt, d *diagnose.Diagnosis) limit {
	switch {
	case d == nil || beforeMail(a.Stage) || a.Class() == 0 || sessionOver(d):
		return limit{}
	case quotaMet(a, d):
		return limit{kind: quotaLimit, asks: true, owned: d.Scope == diagnose.ScopeSender}
	case a.Class() != 4 || ofRecipient(d):
		return limit{}
	}
	rate := d.Category == diagnose.RateLimitIssues
	mail, session := a.Stage == diagnose.StageMail, a.Reply.Code == 421 || a.Reply.Code == 432
	switch {
	case d.Reason == diagnose.ReasonTooManyConnections:
		return limit{kind: connectionLimit, alone: true, asks: true}
	case rate && d.Scope == diagnose.ScopeSender && d.Reason != diagnose.ReasonSessionErrors:
		return limit{kind: rateLimit, asks: true, owned: true}
	case rate && (d.Scope == diagnose.ScopeUpstream || mail || session):
		return limit{
			kind:  rateLimit,
			alone: mail || session || d.Reason == diagnose.ReasonUnconfirmedIP,
			asks:  true,
		}
	case session || mail && unexplained(a, d):
		return limit{kind: rateLimit, alone: true}
	}
	return limit{}
}

// quotaMet reports whether the reply says that an allowance for an hour, a day or longer is used up: the
// account's or a sender's, never a recipient's. A 5xx counts if no recipient fails for it.
func quotaMet(a *relay.Attempt, d *diagnose.Diagnosis) bool {
	if d.Reason != diagnose.ReasonQuotaExceeded && d.Reason != diagnose.ReasonTenantThreshold {
		return false
	}
	if d.Scope != diagnose.ScopeUpstream && d.Scope != diagnose.ScopeSender {
		return false
	}
	return a.Class() == 4 || ownFault(a, d)
}

// sessionOver reports whether the upstream only ended a session, because it was idle or open for too long or
// carried enough messages. That costs a new connection and nothing else.
func sessionOver(d *diagnose.Diagnosis) bool {
	return d.Reason == diagnose.ReasonSessionTimeout || d.Reason == diagnose.ReasonSessionMessages
}

// ofRecipient reports whether the words are about one recipient. They then delay only its mail, whatever the
// code.
func ofRecipient(d *diagnose.Diagnosis) bool {
	if d.Basis != diagnose.BasisText || d.Scope != diagnose.ScopeRecipient {
		return false
	}
	switch d.Category {
	case diagnose.MailboxFull, diagnose.MailboxIssues, diagnose.InvalidAddress:
		return true
	}
	return d.Reason == diagnose.ReasonGreylisted || d.Reason == diagnose.ReasonRecipientRate
}

// unexplained reports whether a reply to MAIL asks us to wait though its words do not mention a limit: the
// server is failing, or does not disclose its limits.
func unexplained(a *relay.Attempt, d *diagnose.Diagnosis) bool {
	switch a.Reply.Code {
	case 450, 451, 454:
		return a.Reply.Enhanced.Class == 4 && a.Reply.Enhanced.Subject == 7 || d.RetryAfter > 0
	}
	return false
}

// The delays of a message that met a limit.
const (
	limitDelayMin = time.Second
	limitDelayMax = 5 * time.Second // the first time; doubled for each further one in a row
	limitDelayEnd = time.Hour       // ... up to this
)

// quotaProbe is the time between two attempts at a used-up quota when the reply does not name one.
func quotaProbe() Bounds { return Bounds{Min: time.Minute, Max: time.Hour} }

// limitDelay is how long a message waits that met a limit, after it met limits at its last n attempts too.
// spread is a random number from 0 to 1.
func limitDelay(p *Policy, kind limitKind, d *diagnose.Diagnosis, n int, spread float64) time.Duration {
	if d.RetryAfter > 0 {
		return named(p, d, spread)
	}
	n = min(n, 12) // 2^12 s is more than an hour
	if kind == quotaLimit {
		wait := quotaProbe().clamp(quotaProbe().Min << n)
		return wait + time.Duration(float64(wait)*p.Jitter*spread)
	}
	return min((limitDelayMin+time.Duration(spread*float64(limitDelayMax-limitDelayMin)))<<n, limitDelayEnd)
}

// sessionDelay is how long a message waits after the upstream ended its session.
func sessionDelay(spread float64) time.Duration {
	return limitDelayMin + time.Duration(spread*float64(limitDelayMin))
}

// limitsMet is how many of r's newest attempts in a row met a limit.
func limitsMet(r *relay.Recipient) (n int) {
	for i := len(r.History) - 1; i >= 0; i-- {
		p := &r.History[i]
		if p.Event != relay.EventDeferred ||
			p.Category != diagnose.RateLimitIssues && p.Reason != diagnose.ReasonTenantThreshold {
			return n
		}
		n++
	}
	return n
}

// retriedSession reports whether r's last attempt ended with its session, so that another such end is not a
// coincidence.
func retriedSession(r *relay.Recipient) bool {
	return r.Diagnosis != nil && r.State == relay.Deferred && sessionOver(r.Diagnosis)
}

// limits judges whose limit it is that messages meet: one recipient's or domain's, one sender's, or the
// lane's. It has no effect but on its own memory, which is bounded, and belongs to the lane's goroutine.
//
// One recipient, domain or sender that is throttled forever must not slow everybody's mail. So a limit is the
// lane's only if messages to several distinct recipients met it, and if these do not share a sender or domain
// that the mail accepted in the same time does not have. A recipient that meets the limit again proves
// nothing new.
type limits struct {
	met   []encounter // the newest, each of another recipient, oldest first
	taken int         // messages taken so far
}

// encounter is one message that met a limit.
type encounter struct {
	key    string // the recipient; of a limit met at MAIL, the message
	domain string // of the recipient; "" at MAIL, where no recipient is known
	sender string
	at     time.Time

	taken    int // limits.taken at that time
	ofSender int // messages of the sender taken since
	ofDomain int // messages to the domain taken since
}

// owner says whose limit it is.
type owner int

// The owners of a limit.
const (
	messageLimit owner = iota // the message's or its recipient's, as far as is known
	senderLimit
	laneLimit
)

// The constants by which limits are judged.
const (
	limitForget     = 10 * time.Minute // after which an encounter no longer proves anything
	limitRemembered = 8                // encounters that are remembered
	limitEnough     = 3                // distinct recipients that make a limit the lane's
	limitShare      = 10               // at most this many messages taken for each that met a limit ...
	limitShareOn    = 50               // ... or this many while the lane is slowed already
	limitChance     = 0.05             // below this probability it is not a coincidence
)

// accept notes a message that the upstream took.
func (l *limits) accept(sender, domain string) {
	l.taken++
	for i := range l.met {
		e := &l.met[i]
		if e.sender == sender {
			e.ofSender++
		}
		if e.domain == domain {
			e.ofDomain++
		}
	}
}

// judge says whose limit e met. slowed says that the lane is slowed already.
func (l *limits) judge(m limit, e encounter, slowed bool) owner {
	isNew := l.remember(e)
	first := &l.met[0]
	sender := func(e *encounter) string { return e.sender }
	domain := func(e *encounter) string { return e.domain }
	switch {
	case m.owned:
		return senderLimit
	case l.shared(sender) && l.explains(first.ofSender):
		if first.ofSender == 0 {
			return senderLimit
		}
		return messageLimit // other mail of the sender is taken
	case !isNew:
		return messageLimit
	case e.domain != "" && l.shared(domain) && l.explains(first.ofDomain):
		return messageLimit
	case m.alone:
		return laneLimit
	}
	return l.count(m, slowed)
}

// explains reports whether a shared sender or domain explains the limit: given that own of the messages taken
// since the first encounter share it too, it is hardly a coincidence that all who met the limit do. A limit
// of the lane would have met others as well.
func (l *limits) explains(own int) bool {
	all := l.taken - l.met[0].taken
	return all > own && math.Pow(float64(own)/float64(all), float64(len(l.met))) < limitChance
}

// count says whether enough distinct recipients met a limit for it to be the lane's. One is enough to suspect
// a quota; the next message then confirms or refutes it.
func (l *limits) count(m limit, slowed bool) owner {
	share := limitShare
	if slowed {
		share = limitShareOn
	}
	enough := len(l.met) >= limitEnough || m.kind == quotaLimit
	if enough && l.taken-l.met[0].taken <= share*len(l.met) {
		return laneLimit
	}
	return messageLimit
}

// remember adds e, and reports whether its recipient is new: it has not met a limit recently.
func (l *limits) remember(e encounter) bool {
	e.taken = l.taken
	recent, isNew := l.met[:0], true
	for _, old := range l.met {
		if since := e.at.Sub(old.at); since < 0 || since > limitForget {
			continue
		}
		if old.key == e.key {
			isNew = false
			old.at = e.at
		}
		recent = append(recent, old)
	}
	if isNew {
		recent = append(recent, e)
	}
	l.met = append(l.met[:0], recent[max(0, len(recent)-limitRemembered):]...)
	return isNew
}

// shared reports whether two or more messages met a limit and all of them have the same value.
func (l *limits) shared(value func(*encounter) string) bool {
	for i := range l.met {
		if value(&l.met[i]) != value(&l.met[0]) {
			return false
		}
	}
	return len(l.met) > 1
}
