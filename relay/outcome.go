package relay

import (
	"strings"
	"time"

	"mailwhy/diagnose"
)

// outcome is what an attempt leads to: a settlement, the events that tell of it, and the lane's lesson.
type outcome struct {
	settlement Settlement
	events     []Event
	signal     signal
}

// outcome diagnoses and decides for each recipient that was offered.
func (l *Lane) outcome(u *unit, attempts []Attempt) *outcome {
	m := u.tx.Message
	now := l.o.Now()
	p := l.o.Settings().Policy
	o := &outcome{signal: signal{unit: u}}
	o.settlement.Recipients = append([]Recipient(nil), m.Recipients...)
	o.events = make([]Event, 0, len(attempts))
	for i := range attempts {
		r := &o.settlement.Recipients[u.tx.Recipients[i]]
		a := &attempts[i]
		d := l.diagnose(m, r, a, !now.Before(m.Arrived.Add(p.Expiry)))
		dec := decide(&p, now, m, r, a, d, l.o.Spread())
		if l.fallBack(&u.tx, a) {
			dec = decision{State: Deferred, Next: now}
		} else {
			l.learn(&o.signal, &u.tx, r, a, d)
		}
		apply(r, &dec, a, d, now)
		o.events = append(o.events, attemptEvent(m, r, a, d, now))
	}
	o.settlement.Notices = NoticesFor(&p, m, o.settlement.Recipients, now)
	return o
}

// diagnose explains a refusal; an accepted attempt needs no explanation. final says that the message's time
// is over.
func (l *Lane) diagnose(m *Message, r *Recipient, a *Attempt, final bool) *diagnose.Diagnosis {
	if a.Accepted() {
		return nil
	}
	caps, _ := l.o.Upstream.Capabilities()
	d := l.o.Diagnose(diagnose.Symptom{
		Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host, Final: final,
		Facts: diagnose.Facts{
			HeaderFrom: m.HeaderFrom, EnvelopeFrom: domainOf(m.Envelope.From), DKIMDomains: m.DKIM, Examined: true,
			Size: m.Size, UpstreamSize: caps.Size, Recipient: r.Address,
		},
	})
	return &d
}

// fallBack reports whether a report whose null sender was refused may go at once with another reverse-path.
func (l *Lane) fallBack(tx *Transaction, a *Attempt) bool {
	return tx.Message.Report && tx.From == "" && a.Reply.Class() == 5 && l.o.NullSenderRefused(l.o.Name, *a)
}

// learn notes what an attempt tells about more than its own recipient.
func (l *Lane) learn(s *signal, tx *Transaction, r *Recipient, a *Attempt, d *diagnose.Diagnosis) {
	if a.Accepted() {
		s.accepted, s.domain = true, strings.ToLower(domainOf(r.Address))
		return
	}
	lim := limitOf(a, d)
	switch {
	case sessionOver(d):
	case lim.kind != noLimit:
		if s.limit == nil { // one message is one witness, whatever the number of its recipients
			s.limit = &metLimit{limit: lim, encounter: encounterOf(tx, r, a), refusal: refusal{a, d}}
		}
	case a.Stage == diagnose.StageMail && a.Reply.Code != 0 && (d.Scope == diagnose.ScopeUpstream || ownFault(a, d)):
		// It is the upstream that speaks. Later a recipient's server may, and then nothing pauses a lane.
		s.refused, s.account = append(s.refused, refusal{a, d}), senderOf(tx)
	case ownFault(a, d):
		s.refused = append(s.refused, refusal{a, d})
	}
}

// senderOf is the sender of a transaction as it is compared.
func senderOf(tx *Transaction) string { return senderName(tx.From) }

// senderName is a reverse-path as it is compared and shown; "<>" is the null sender.
func senderName(reversePath string) string {
	if reversePath == "" {
		return "<>"
	}
	return strings.ToLower(reversePath)
}

// encounterOf is what a transaction that met a limit has that another may have in common with it.
func encounterOf(tx *Transaction, r *Recipient, a *Attempt) encounter {
	e := encounter{sender: senderOf(tx)}
	if a.Stage == diagnose.StageMail {
		e.key = tx.Message.ID
		return e
	}
	e.key = strings.ToLower(r.Address)
	e.domain = domainOf(e.key)
	return e
}

// apply writes a decision into the recipient's state.
func apply(r *Recipient, dec *decision, a *Attempt, d *diagnose.Diagnosis, now time.Time) {
	r.State, r.NextAttempt, r.HeldWhy = dec.State, dec.Next, dec.HeldWhy
	r.Last, r.Diagnosis = a, d
	if dec.Counts {
		r.Attempts++
	}
	if dec.State == Held {
		r.HeldFrom = Queued
	}
	r.History = remember(r.History, pastOf(r, a, d, now))
}

// pastOf is the line of a recipient's story that an attempt adds.
func pastOf(r *Recipient, a *Attempt, d *diagnose.Diagnosis, now time.Time) Past {
	past := Past{Time: now, Event: eventOf(r.State), Stage: a.Stage, Reply: cut(a.Reply.Raw, 512)}
	if past.Reply == "" {
		past.Reply = cut(a.NetErr.Text, 512)
	}
	if d != nil {
		past.Category, past.Reason = d.Category, d.Reason
	}
	return past
}

// keepFirst is how many of the oldest lines of a story stay when it grows too long: how it began tells most.
const keepFirst = 8

// remember appends to a story, leaving out its middle when it grows too long.
func remember(h []Past, p Past) []Past {
	h = append(h[:len(h):len(h)], p)
	if len(h) > MaxHistory {
		h = append(h[:keepFirst:keepFirst], h[len(h)-(MaxHistory-keepFirst):]...)
	}
	return h
}

// eventOf is the event that tells of a recipient's new state.
func eventOf(s State) EventKind {
	switch s {
	case Relayed:
		return EventRelayed
	case Failed:
		return EventFailed
	case Expired:
		return EventExpired
	case Held:
		return EventHeld
	case Suppressed:
		return EventSuppressed
	}
	return EventDeferred
}

// attemptEvent is the event for one recipient's attempt.
func attemptEvent(m *Message, r *Recipient, a *Attempt, d *diagnose.Diagnosis, now time.Time) Event {
	e := Event{
		Time: now, Kind: eventOf(r.State), ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From, To: r.Address,
		Client: clientName(&m.Client), User: m.Client.User, Size: m.Size, Attempt: len(r.History), Delay: now.Sub(m.Arrived),
		Tried: a, Diagnosis: d, Lane: m.Lane, Note: r.HeldWhy,
	}
	if r.State == Deferred {
		e.NextAttempt = r.NextAttempt
	}
	if a.NetErr.Kind == diagnose.NetCorrupt {
		e.Kind = EventQuarantined
	}
	return e
}

// clientName is how a client is called in events: by its configured name, else its address.
func clientName(c *Client) string {
	if c.Name != "" {
		return c.Name
	}
	return c.Addr
}

// domainOf is what follows the last @ of an address.
func domainOf(address string) string {
	return address[strings.LastIndexByte(address, '@')+1:]
}

// cut shortens s to at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
