package processor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// event matches an event and says what it leads to. who is asked for its writer where that matters.
func (p *Processor) event(ctx context.Context, r *recall.Report, source *Source,
	who func() *feedback.Evidence) work {
	m, why, err := p.match(ctx, r, source)
	switch {
	case err != nil:
		return p.again(r, recall.StateUnmatched, err.Error())
	case m == nil:
		return p.again(r, recall.StateUnmatched, why)
	case m.state != feedback.StateUncertain:
		return work{change: recall.Change{Report: *r, Effect: p.effect(r, source, m, who)}, match: m}
	case !changes(grade(source, r.Event, m)):
		return p.again(r, recall.StateUnmatched, "too little proves that the upstream took its message")
	}
	why = "its message was just settled"
	if err := p.settle(ctx, r, m); err != nil {
		why = "its message cannot be settled: " + err.Error()
	}
	return p.again(r, recall.StateUnmatched, why)
}

// changes reports whether feedback of a grade changes anything, and is not for the log only.
func changes(t relay.Trust) bool { return t == relay.TrustProven || t == relay.TrustLikely }

// effect is what a matched event leads to.
func (p *Processor) effect(r *recall.Report, source *Source, m *match,
	who func() *feedback.Evidence) *recall.Effect {
	e := r.Event
	trust, note := grade(source, e, m), ""
	if trust == relay.TrustLikely && !source.Proven {
		trust, note = confirm(who(), m)
	}
	state := stateOf(e)
	f := &recall.Effect{
		Message: m.message.ID, Told: p.told(r, m, trust), State: state, Weak: !changes(trust),
	}
	f.Told.Note = cmp.Or(f.Told.Note, note)
	if state == feedback.StateBounced && !f.Weak && p.owes(source, m) {
		f.Notice = &relay.Notice{
			Message: m.message.ID, Recipient: m.index, Kind: relay.NoticeFailed,
			Due: p.o.Now().Add(p.o.Settings().Collect),
		}
	}
	f.Owed = p.owe(f.Told.Event(m.message))
	return f
}

// told is what the event of a report tells of a message.
func (p *Processor) told(r *recall.Report, m *match, trust relay.Trust) feedback.Told {
	e := r.Event
	state := stateOf(e)
	t := feedback.Told{
		Recipient: m.index, Kind: eventKind(state), Attempt: attempt(r, m),
		Diagnosis: p.diagnose(e, state, m),
		Feedback: relay.Feedback{
			Source: string(e.Source), Provider: e.Provider, ProviderType: e.Type, EventID: e.ID, Trust: trust,
			MatchedBy: string(m.by.Kind), ReportedAt: r.Came,
		},
	}
	if e.Kind == feedback.KindDropped {
		t.Note = "the provider did not try to deliver it"
	}
	return t
}

// stateOf is the state that an event says the recipient is in. The reply decides where it is a refusal: a
// provider that tries again after a 5yz has been refused for good (RFC 5321, 4.2.1).
func stateOf(e *feedback.Event) feedback.State {
	switch e.Kind {
	case feedback.KindDelivered:
		return feedback.StateDelivered
	case feedback.KindComplained:
		return feedback.StateComplained
	case feedback.KindRetrying:
		if class(e) != 5 {
			return feedback.StateRetrying
		}
	}
	return feedback.StateBounced
}

// class is the class of the reply, or of the status where no reply is quoted.
func class(e *feedback.Event) int {
	if c := diagnose.ParseReply(e.Reply).Class(); c != 0 {
		return c
	}
	status, _ := diagnose.ParseEnhanced(e.Status)
	return status.Class
}

// eventKind is the kind of event for a state.
func eventKind(s feedback.State) relay.EventKind {
	switch s {
	case feedback.StateRetrying:
		return relay.EventRetrying
	case feedback.StateDelivered:
		return relay.EventDelivered
	case feedback.StateComplained:
		return relay.EventComplained
	}
	return relay.EventBounced
}

// stranger is an event for the log about a message that names a queue id of ours and is not remembered: ok is
// false if it names none.
func (p *Processor) stranger(r *recall.Report) (e relay.Event, ok bool) {
	i := slices.IndexFunc(r.Event.Keys, func(k feedback.Key) bool {
		return k.Kind == feedback.KeyQueueID || k.Kind == feedback.KeyReturnPath
	})
	if i < 0 {
		return relay.Event{}, false
	}
	m := &match{
		message: &relay.Message{
			ID: r.Event.Keys[i].Value, Recipients: []relay.Recipient{{Address: r.Event.Recipient}},
		},
		by: r.Event.Keys[i],
	}
	t := p.told(r, m, relay.TrustWeak)
	return t.Event(m.message), true
}

// saidMost is how many bytes of what was said are kept: nobody's server says more, but a mail may.
const saidMost = 8 << 10

// attempt is what was said of the recipient, as its last attempt. Without a time of the provider's it
// happened when it came.
func attempt(r *recall.Report, m *match) relay.Attempt {
	upstream, host, id := m.message.Lane, "", ""
	if last := m.message.Recipients[m.index].Last; last != nil {
		upstream, host, id = last.Upstream, last.Host, last.UpstreamID
	}
	a := r.Event.Attempt(upstream, host)
	a.UpstreamID = id
	if cut := len(a.Reply.Raw) - saidMost; cut > 0 {
		a.Reply, a.ReplyCut = diagnose.ParseReply(a.Reply.Raw[:saidMost]), int64(cut)
	}
	a.NetErr.Text = a.NetErr.Text[:min(len(a.NetErr.Text), saidMost)]
	if a.Time.IsZero() {
		a.Time = r.Came
	}
	return a
}

// diagnose explains what an event says; a delivery needs no explanation.
func (p *Processor) diagnose(e *feedback.Event, state feedback.State, m *match) *diagnose.Diagnosis {
	if state == feedback.StateDelivered {
		return nil
	}
	s := e.Symptom()
	s.Final = state == feedback.StateBounced
	s.Facts.HeaderFrom = m.message.HeaderFrom
	s.Facts.EnvelopeFrom = domainOf(m.message.Envelope.From)
	s.Facts.DKIMDomains, s.Facts.Examined = m.message.DKIM, true
	s.Facts.Size = m.message.Size
	s.Facts.Recipient = m.message.Recipients[m.index].Address
	d := p.o.Diagnose(s)
	return &d
}

// domainOf is what follows the last @ of an address.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// owes reports whether the sender of a message is owed a notice of a failure that a source told. The null
// sender and reports of our own never are (RFC 5321, 4.5.5), and NOTIFY decides (RFC 3461, 5.2.6).
func (p *Processor) owes(source *Source, m *match) bool {
	if m.message.Envelope.From == "" || m.message.Report ||
		!m.message.Recipients[m.index].Notify.OwesFailure() {
		return false
	}
	switch p.o.Settings().Notice {
	case NoticeAlways:
		return true
	case NoticeAuto:
		// What came to a return path of ours came to nobody else.
		return !source.SenderHas || m.by.Kind == feedback.KeyReturnPath
	}
	return false
}
