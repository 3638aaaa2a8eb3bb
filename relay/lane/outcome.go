package lane

import (
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// outcome is what an attempt leads to: a settlement, its events, and a signal for the lane.
type outcome struct {
	settlement relay.Settlement
	events     []relay.Event
	signal     signal
	to         *Ruling // the message goes to its upstream
	moved      int     // recipients that go there
}

// outcome diagnoses and decides for each recipient that was offered.
func (l *Lane) outcome(lm *leased, attempts []relay.Attempt) *outcome {
	m := lm.tx.Message
	now := l.o.Now()
	p := l.o.Settings().Policy
	o := &outcome{signal: signal{leased: lm}}
	o.settlement.Recipients = append([]relay.Recipient(nil), m.Recipients...)
	o.events = make([]relay.Event, 0, len(attempts))
	var notices []relay.Notice
	for i := range attempts {
		r := &o.settlement.Recipients[lm.tx.Recipients[i]]
		a := &attempts[i]
		d := l.diagnose(&lm.tx, r, a, !now.Before(m.Arrived.Add(p.Expiry)))
		spread := l.o.Spread()
		dec, byPolicy := ruled(&p, now, m, r, a, d, l.ruling(m, attempts, r, a, d), spread)
		if !byPolicy {
			dec = decide(&p, now, m, r, a, d, spread)
		}
		if l.fallBack(&lm.tx, a) {
			dec = decision{State: relay.Deferred, Next: now}
		} else {
			l.addSignal(&o.signal, &lm.tx, r, a, d)
		}
		apply(r, &dec, a, d, now)
		o.events = append(o.events, relay.AttemptEvent(m, r, now))
		o.follow(dec.By, refusal{a, d})
		if dec.By != nil && dec.By.Notify != "" {
			notices = append(notices, relay.Notice{Message: m.ID, Recipient: lm.tx.Recipients[i],
				Kind: relay.NoticeOperator, Due: now.Add(p.Collect), To: dec.By.Notify})
		}
	}
	l.suppressIn(o, lm, now)
	o.move(m, now)
	o.settlement.Owed = append(owed(&p, m, o.settlement.Recipients, now), relay.NoticeEntries(notices)...)
	if !lm.offer { // else there may be no settlement in the spool that would keep the entries
		o.settlement.Owed = append(o.settlement.Owed, l.owe(o.events)...)
	}
	return o
}

// ruling is what the operator ordered for a refusal; nil when nothing. A message of which a recipient may
// have been taken never goes to another upstream.
func (l *Lane) ruling(m *relay.Message, attempts []relay.Attempt, r *relay.Recipient, a *relay.Attempt,
	d *diagnose.Diagnosis) *Ruling {
	if d == nil || l.o.Ruling == nil {
		return nil
	}
	by := l.o.Ruling(m, r, d)
	if by != nil && by.Action == ActionRoute && mayBeTaken(m, attempts) {
		return nil
	}
	return by
}

// mayBeTaken reports whether a recipient waits, before or after some attempts, of whom it is not known
// whether the upstream took the message.
func mayBeTaken(m *relay.Message, attempts []relay.Attempt) bool {
	return slices.ContainsFunc(attempts, func(a relay.Attempt) bool { return a.Uncertain }) ||
		slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool {
			return r.Waiting() && isUncertain(r.Last)
		})
}

// follow notes what a ruling orders beyond its recipient, whose event is the last one.
func (o *outcome) follow(by *Ruling, why refusal) {
	if by == nil {
		return
	}
	switch by.Action {
	case ActionSlow, ActionPause:
		o.signal.rulings = append(o.signal.rulings, ruling{by, why})
	case ActionRoute:
		o.to = by
	case ActionSuppress:
		o.events[len(o.events)-1].SuppressFor = by.For
	}
}

// move moves the message if a ruling orders it: with all its recipients that wait.
func (o *outcome) move(m *relay.Message, now time.Time) {
	if o.to == nil {
		return
	}
	o.settlement.Lane = o.to.Upstream
	moved := *m
	moved.Lane, moved.Recipients = o.to.Upstream, o.settlement.Recipients
	for i := range moved.Recipients {
		if moved.Recipients[i].Waiting() {
			e := relay.MovedEvent(&moved, i, m.Lane, "policy "+o.to.Policy, now)
			e.Policy = o.to.Policy
			o.events = append(o.events, e)
			o.moved++
		}
	}
}

// diagnose explains a refusal; an accepted attempt needs no explanation. final says that the message is past
// its expiry.
func (l *Lane) diagnose(tx *relay.Transaction, r *relay.Recipient, a *relay.Attempt,
	final bool) *diagnose.Diagnosis {
	if a.Accepted() {
		return nil
	}
	caps, _ := l.o.Upstream.Capabilities()
	d := l.o.Diagnose(diagnose.Symptom{
		Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr, Upstream: a.Host, Final: final,
		Facts: diagnose.Facts{
			HeaderFrom:   tx.FromDomain(),
			EnvelopeFrom: domainOf(tx.From),
			DKIMDomains:  tx.Message.DKIM,
			Examined:     true,
			Size:         tx.Message.Size,
			UpstreamSize: caps.Size,
			Recipient:    r.Address,
			Now:          l.o.Now(),
		},
	})
	return &d
}

// fallBack reports whether a report whose null sender was refused may go at once with another reverse-path.
func (l *Lane) fallBack(tx *relay.Transaction, a *relay.Attempt) bool {
	return tx.Message.Report && tx.From == "" && a.Class() == 5 && l.o.NullSenderRefused(l.o.Name, *a)
}

// addSignal adds to s what an attempt says about more than its own recipient.
func (l *Lane) addSignal(s *signal, tx *relay.Transaction, r *relay.Recipient, a *relay.Attempt,
	d *diagnose.Diagnosis) {
	if a.Accepted() {
		s.accepted, s.domain = true, strings.ToLower(domainOf(r.Address))
		return
	}
	lim := limitOf(a, d)
	switch {
	case sessionOver(d):
	case lim.kind != noLimit:
		if s.limit == nil { // a message counts once, however many recipients it has
			s.limit = &metLimit{limit: lim, encounter: encounterOf(tx, r, a), refusal: refusal{a, d}}
		}
	case a.Stage == diagnose.StageMail && a.Class() != 0 &&
		(d.Scope == diagnose.ScopeUpstream || ownFault(a, d)):
		// The words are the upstream's own. Later they may be those of a recipient's server, and these never
		// pause a lane.
		s.refused, s.accountRefused = append(s.refused, refusal{a, d}), senderOf(tx)
	case ownFault(a, d):
		s.refused = append(s.refused, refusal{a, d})
	}
}

// senderOf is the sender of a transaction in the form in which senders are compared.
func senderOf(tx *relay.Transaction) string { return relay.SenderName(tx.From) }

// encounterOf is what several transactions that met a limit may have in common.
func encounterOf(tx *relay.Transaction, r *relay.Recipient, a *relay.Attempt) encounter {
	e := encounter{sender: senderOf(tx)}
	if a.Stage == diagnose.StageMail {
		e.key = tx.Message.ID
		return e
	}
	e.key = strings.ToLower(r.Address)
	e.domain = domainOf(e.key)
	return e
}

// apply writes a decision into the recipient.
func apply(r *relay.Recipient, dec *decision, a *relay.Attempt, d *diagnose.Diagnosis, now time.Time) {
	r.State, r.NextAttempt, r.HeldWhy = dec.State, dec.Next, dec.HeldWhy
	r.Last, r.Diagnosis, r.Policy = a, d, dec.policy()
	if dec.Counts {
		r.Attempts++
	}
	if dec.State == relay.Held {
		r.HeldFrom = relay.Queued
	}
	r.History = remember(r.History, historyEntry(r, a, d, now))
}

// historyEntry is the entry that an attempt adds to a recipient's history.
func historyEntry(r *relay.Recipient, a *relay.Attempt, d *diagnose.Diagnosis,
	now time.Time) relay.HistoryEntry {
	e := relay.HistoryEntry{
		Time:  now,
		Event: relay.EventOf(r.State),
		Stage: a.Stage,
		Reply: cut(a.Reply.Raw, 512),
	}
	if e.Reply == "" {
		e.Reply = cut(a.NetErr.Text, 512)
	}
	if d != nil {
		e.Category, e.Reason = d.Category, d.Reason
	}
	e.Policy = r.Policy
	return e
}

// keepFirst is how many of the oldest entries stay when a history grows too long: the beginning says the
// most.
const keepFirst = 8

// remember appends to a history, and drops its middle when it grows too long.
func remember(h []relay.HistoryEntry, e relay.HistoryEntry) []relay.HistoryEntry {
	h = append(h[:len(h):len(h)], e)
	if len(h) > relay.MaxHistory {
		h = append(h[:keepFirst:keepFirst], h[len(h)-(relay.MaxHistory-keepFirst):]...)
	}
	return h
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
