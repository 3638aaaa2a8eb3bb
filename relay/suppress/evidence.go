package suppress

import (
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// kind is what a finding says about an address.
type kind int

const (
	nothing    kind = iota // neither good nor bad: a temporary reply, a refusal of the message
	failed                 // nobody is there
	complained             // its owner calls a message spam
	relayed                // the upstream took a message
	delivered              // the recipient's server took one, as a provider told
	ordered                // a policy orders that it is suppressed
)

// finding is what an event says about an address.
type finding struct {
	kind     kind
	certain  bool          // of a failure: once is enough
	lasts    time.Duration // of an order
	time     time.Time
	scope    string
	address  string // normal
	upstream string
	entry    relay.Suppression // of a failure or a complaint: what an entry has of it
}

// reasons are the reasons of a diagnosis for which an address is suppressed, and whether the first failure is
// enough. Others that are about a recipient are not here because a refusal of the message or a wrong route
// may hide behind them (recipient_rejected, mailbox_unavailable, mailbox_moved), because they pass
// (mailbox_full), because another list decides (on_bounce_list), or because our own header may be at fault
// (bad_address_syntax).
func reasons() map[diagnose.Reason]bool {
	return map[diagnose.Reason]bool{
		"user_unknown":     true,
		"account_inactive": false,
		"no_mail_service":  false,
		"domain_unknown":   false,
		"null_mx":          false,
	}
}

// find says what an event means for the address; ok is false if it is about none.
func (l *List) find(e *relay.Event) (f finding, ok bool) {
	f = finding{time: e.Time, upstream: e.Lane, scope: relay.SuppressedEverywhere}
	switch e.Kind {
	case relay.EventRelayed:
		f.kind = relayed
	case relay.EventDelivered:
		f.kind = delivered
	case relay.EventFailed, relay.EventBounced:
		if l.fails(e) {
			f.kind, f.certain = failed, l.reasons[e.Diagnosis.Reason]
		}
	case relay.EventComplained:
		f.kind = complained
	case relay.EventDeferred, relay.EventExpired, relay.EventRetrying:
	default:
		return f, false
	}
	if e.Feedback != nil && e.Feedback.Trust != relay.TrustProven || e.To == "" {
		return f, false
	}
	if e.SuppressFor > 0 {
		f.kind, f.lasts = ordered, e.SuppressFor
	}
	f.address = Normal(e.To)
	if l.o.Settings().PerSender {
		if f.scope = scopeOf(e.From); f.scope == "" {
			return f, false // the null sender has no domain
		}
	}
	if f.kind == failed || f.kind == complained || f.kind == ordered {
		f.entry = entryOf(e, &f)
	}
	return f, true
}

// fails reports whether a refusal shows that nobody reads mail at the address.
func (l *List) fails(e *relay.Event) bool {
	d, a := e.Diagnosis, e.Tried
	if d == nil || a == nil || class(a) != 5 {
		return false
	}
	switch a.Stage {
	case diagnose.StageRcpt, diagnose.StageData, diagnose.StageEndOfData, diagnose.StageRemote:
	default:
		return false // not about the recipient, whatever the words
	}
	_, counts := l.reasons[d.Reason]
	return counts && d.Basis == diagnose.BasisText && d.Confidence == diagnose.High &&
		d.Scope == diagnose.ScopeRecipient && d.Action == diagnose.ActionRemoveAddress
}

// class is the class of the reply, or of the status that is told where none is quoted.
func class(a *relay.Attempt) int {
	if c := a.Class(); c != 0 {
		return c
	}
	status, _ := diagnose.ParseEnhanced(a.Status)
	return status.Class
}

// entryOf is a new entry of what an event says.
func entryOf(e *relay.Event, f *finding) relay.Suppression {
	s := relay.Suppression{
		Address: f.address, Scope: f.scope, Reason: diagnose.ReasonSpamComplaint,
		Source: relay.SuppressedInSession, FirstSeen: e.Time, LastSeen: e.Time, Hits: 1, Message: e.ID,
		Upstream: e.Lane,
	}
	if d := e.Diagnosis; d != nil {
		s.Rule, s.Confidence = d.Rule, d.Confidence
		if f.kind != complained {
			s.Reason = d.Reason
		}
	}
	if a := e.Tried; a != nil && f.kind != complained {
		if s.Reply = a.Reply.Raw; s.Reply == "" {
			s.Reply = a.NetErr.Text
		}
		s.Reply = s.Reply[:min(len(s.Reply), replyMost)]
	}
	switch {
	case f.kind == ordered:
		s.Source, s.Note = relay.SuppressedByPolicy, "policy "+e.Policy
	case e.Feedback != nil:
		s.Source = e.Feedback.Source
	}
	return s
}

// replyMost is how much of a reply is kept, bytes.
const replyMost = 2 << 10
