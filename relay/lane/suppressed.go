package lane

import (
	"strings"
	"time"

	"mailwhy/relay"
)

// inquiries are the addresses that a message is being offered to and that have yet to answer, so that other
// messages to them wait for what they say: when nobody is there, that is asked once. It belongs to the lane's
// goroutine.
type inquiries struct {
	asked   map[string]int // messages under way, by address
	waiting []parked       // in the order in which they came
}

// parked is a message that waits for the answer of an address.
type parked struct {
	*leased
	address string
	since   time.Time
}

// The bounds of the wait. A message that has waited for long is offered whatever becomes of the other one.
const (
	maxParked = 256
	parkedFor = 10 * time.Second
)

// suppressed is a recipient of a message that is not offered, and why.
type suppressed struct {
	recipient int
	entry     *relay.Suppression
}

// verdict is what the suppression list says about a message.
type verdict int

const (
	someLeft verdict = iota // it is offered to those of its recipients that are left
	noneLeft                // all are suppressed
	mustWait                // for what becomes of another message
)

// sieve asks the suppression list about each recipient that is to be offered, and takes out those that are
// suppressed. address is what a message that waits waits for.
func (l *Lane) sieve(lm *leased, now time.Time, patient bool) (v verdict, address string) {
	m := lm.tx.Message
	if l.o.Suppressions == nil || m.Report || m.Unsuppressed || m.Envelope.From == "" {
		return someLeft, ""
	}
	var out []suppressed
	var single []string
	rest := make([]int, 0, len(lm.tx.Recipients))
	for _, i := range lm.tx.Recipients {
		c := l.o.Suppressions.Check(m.Envelope.From, m.Recipients[i].Address, now)
		if c.Entry != nil {
			out = append(out, suppressed{i, c.Entry})
			continue
		}
		rest = append(rest, i)
		if c.Single {
			single = append(single, strings.ToLower(m.Recipients[i].Address))
		}
	}
	for _, a := range single {
		if patient && len(rest) > 0 && l.inquiries.asked[a] > 0 {
			return mustWait, a
		}
	}
	lm.tx.Recipients, lm.suppressed = rest, append(lm.suppressed, out...)
	if len(rest) == 0 {
		return noneLeft, ""
	}
	lm.asks = single
	for _, a := range single {
		if l.inquiries.asked == nil {
			l.inquiries.asked = map[string]int{}
		}
		l.inquiries.asked[a]++
	}
	return someLeft, ""
}

// admit queues a leased message for a connection, lets it wait for the answer of an address, or settles it
// without an attempt. It reports whether the message is under way or about to be. last says that it is past
// its expiry: it waits for nothing.
func (l *Lane) admit(lm *leased, now time.Time, last bool) bool {
	switch v, address := l.sieve(lm, now, !last); v {
	case noneLeft:
		l.settleSuppressed(lm)
		return false
	case mustWait:
		if len(l.inquiries.waiting) >= maxParked {
			l.postpone(lm, now.Add(parkedFor/4))
			return false
		}
		l.inquiries.waiting = append(l.inquiries.waiting, parked{lm, address, now})
		return true
	}
	l.work <- lm // never blocks: what is queued and what is parked together are at most its capacity
	return true
}

// answered notes that a message is no longer under way.
func (l *Lane) answered(lm *leased) {
	for _, a := range lm.asks {
		if l.inquiries.asked[a]--; l.inquiries.asked[a] <= 0 {
			delete(l.inquiries.asked, a)
		}
	}
	lm.asks = nil
}

// letGo offers or settles the messages that need not wait any more: their address has answered, or they have
// waited for long. While the lane is paused they are given back.
func (l *Lane) letGo(now time.Time) {
	if len(l.inquiries.waiting) == 0 {
		return
	}
	waiting := l.inquiries.waiting
	l.inquiries.waiting = nil
	for _, p := range waiting {
		late := now.Sub(p.since) >= parkedFor || now.Before(p.since)
		switch {
		case l.outage.paused || l.outage.canary || l.draining:
			l.dismiss(p.leased, now)
			continue
		case l.inquiries.asked[p.address] > 0 && !late:
			l.inquiries.waiting = append(l.inquiries.waiting, p)
			continue
		}
		v, address := l.sieve(p.leased, now, !late)
		switch v {
		case noneLeft:
			l.ended(p.leased, now, false)
			l.settleSuppressed(p.leased)
		case mustWait:
			l.inquiries.waiting = append(l.inquiries.waiting, parked{p.leased, address, p.since})
		default:
			l.work <- p.leased
		}
	}
}

// untilLate is how long until the first message has waited for long.
func (l *Lane) untilLate(now time.Time) time.Duration {
	if len(l.inquiries.waiting) == 0 {
		return lookAgain
	}
	late := l.inquiries.waiting[0].since.Add(parkedFor)
	return min(max(late.Sub(now), time.Millisecond), parkedFor)
}

// settleSuppressed settles a message of which no recipient is left to be offered.
func (l *Lane) settleSuppressed(lm *leased) {
	l.later++
	go func() {
		defer func() { l.signals <- signal{leased: lm, postponed: true} }()
		m, now, policy := lm.tx.Message, l.o.Now(), l.o.Settings().Policy
		o := &outcome{}
		o.settlement.Recipients = append([]relay.Recipient(nil), m.Recipients...)
		l.suppressIn(o, lm, now)
		o.settlement.Owed = append(owed(&policy, m, o.settlement.Recipients, now), l.owe(o.events)...)
		l.settle(lm, o)
	}()
}

// suppressIn adds the recipients of a message that are suppressed to its outcome.
func (l *Lane) suppressIn(o *outcome, lm *leased, now time.Time) {
	if len(lm.suppressed) == 0 {
		return
	}
	m := *lm.tx.Message
	m.Recipients = o.settlement.Recipients
	for _, s := range lm.suppressed {
		r := &m.Recipients[s.recipient]
		a := relay.SuppressedAttempt(l.o.Name, s.entry, now)
		d := l.diagnose(&lm.tx, r, &a, true)
		apply(r, &decision{State: relay.Suppressed}, &a, d, now)
		o.events = append(o.events, relay.SuppressedEvent(&m, s.recipient, s.entry, now))
	}
}

// returnParked gives back all messages that wait for an answer.
func (l *Lane) returnParked(now time.Time) {
	for _, p := range l.inquiries.waiting {
		l.dismiss(p.leased, now)
	}
	l.inquiries.waiting = nil
}
