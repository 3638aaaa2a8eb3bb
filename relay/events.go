package relay

import (
	"time"

	"mailwhy/diagnose"
)

// This file has a constructor for each kind of event, so that the same kind has the same fields wherever it
// happens.

// AcceptedEvent says that recipient i of m was accepted: 250 follows. route and why are the rule that chose
// its upstream, and which of its keys fitted; "" where there is no choice.
func AcceptedEvent(m *Message, i int, route, why string, now time.Time) Event {
	e := recipientEvent(EventAccepted, m, &m.Recipients[i], now)
	e.Route, e.Note, e.Changed, e.Given = route, why, m.Changed, m.Recipients[i].Given
	e.First, e.Delay = i == 0 && m.ID == m.MailID(), 0
	return e
}

// AttemptEvent says what r.Last, an attempt that was just made for r, has led to.
func AttemptEvent(m *Message, r *Recipient, now time.Time) Event {
	e := recipientEvent(EventOf(r.State), m, r, now)
	e.Attempt, e.Tried, e.Diagnosis, e.Note = len(r.History), r.Last, r.Diagnosis, r.HeldWhy
	e.Changed, e.Policy = r.Last.Changed, r.Policy
	if r.State == Deferred {
		e.NextAttempt = r.NextAttempt
	}
	if r.Last.NetErr.Kind == diagnose.NetCorrupt {
		e.Kind = EventQuarantined
	}
	return e
}

// EventOf is the kind of event for a recipient's new state after an attempt.
func EventOf(s State) EventKind {
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

// MovedEvent says that recipient i of m waits for another upstream than before, and why.
func MovedEvent(m *Message, i int, from, why string, now time.Time) Event {
	e := recipientEvent(EventMoved, m, &m.Recipients[i], now)
	e.Attempt, e.Note = m.Recipients[i].Attempts, "from "+from+": "+why
	e.NextAttempt = m.Recipients[i].NextAttempt
	return e
}

// OperatorEvent says that the operator held, released or dropped a recipient. r is the recipient afterwards.
func OperatorEvent(kind EventKind, m *Message, r *Recipient, now time.Time) Event {
	e := recipientEvent(kind, m, r, now)
	e.Attempt, e.Note = r.Attempts, ByOperator
	if kind == EventReleased {
		e.NextAttempt = r.NextAttempt
	}
	return e
}

// ReportGivenUpEvent says that m, a report of our own about the message with the id about, is given up for r.
func ReportGivenUpEvent(m *Message, r *Recipient, about, note string, now time.Time) Event {
	e := recipientEvent(EventExpired, m, r, now)
	e.Attempt, e.Tried, e.Diagnosis, e.DSN, e.Note = len(r.History), r.Last, r.Diagnosis, about, note
	return e
}

// ReportedEvent says that the report with the id dsn is about recipient i of m.
func ReportedEvent(m *Message, i int, kind NoticeKind, dsn string, now time.Time) Event {
	r := &m.Recipients[i]
	e := Event{
		Time: now, Kind: EventDSN, ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From, To: r.Address,
		TraceID: m.TraceID, SpanID: m.SpanID,
		Attempt: r.Attempts, Delay: now.Sub(m.Arrived), Diagnosis: r.Diagnosis, DSN: dsn, DSNKind: kind,
	}
	if kind == NoticeDelayed {
		e.Kind, e.NextAttempt = EventDelayed, r.NextAttempt
	}
	return e
}

// ReportEvent says that a report to its recipient i was made, about the message with the id about.
func ReportEvent(report *Message, i int, kind NoticeKind, about, note string, now time.Time) Event {
	return Event{
		Time: now, Kind: EventDSN, First: i == 0, ID: report.ID, MessageID: report.MessageID,
		TraceID: report.TraceID, SpanID: report.SpanID,
		To: report.Recipients[i].Address, Size: report.Size, Lane: report.Lane,
		DSN: about, DSNKind: kind, Note: note,
	}
}

// FeedbackEvent says what became known of r, a recipient of m, after the upstream's 250: r.Last is what was
// told, at the stage diagnose.StageRemote, and r.Diagnosis what it means. m need not be whole: what is not
// remembered of it is left out.
func FeedbackEvent(kind EventKind, m *Message, r *Recipient, f *Feedback, now time.Time) Event {
	e := recipientEvent(kind, m, r, now)
	e.Tried, e.Diagnosis, e.Feedback = r.Last, r.Diagnosis, f
	if kind == EventDelivered {
		e.Diagnosis = nil // there is nothing to explain
	}
	if m.Arrived.IsZero() {
		e.Delay = 0
	}
	return e
}

// RefusedEvent says that the front door refused a client's command with a reply. What else is known of it is
// for the caller to fill in.
func RefusedEvent(client, user string, stage diagnose.Stage, reply string, now time.Time) Event {
	return Event{
		Time: now, Kind: EventRefused, First: true, Client: client, User: user, Stage: stage, Reply: reply,
	}
}

// QuarantinedEvents say that the spool set a damaged message aside: one event for each recipient of m, or a
// single one if m could not be read and is nil.
func QuarantinedEvents(id string, m *Message, why string, now time.Time) []Event {
	e := Event{Time: now, Kind: EventQuarantined, ID: id, Note: why}
	if m == nil {
		return []Event{e}
	}
	e.Mail, e.MessageID, e.From, e.Client = m.Mail, m.MessageID, m.Envelope.From, m.Client.Name
	e.Size, e.Lane, e.TraceID, e.SpanID = m.Size, m.Lane, m.TraceID, m.SpanID
	var events []Event
	for i := range m.Recipients {
		e.To = m.Recipients[i].Address
		events = append(events, e)
	}
	return events
}

// LaneEvent says that a lane is in a state: paused, resumed, slowed or refused. tried and d say why; they may
// be nil.
func LaneEvent(lane, state string, tried *Attempt, d *diagnose.Diagnosis, next time.Time, note string,
	now time.Time) Event {
	return Event{
		Time: now, Kind: EventLane, Lane: lane, State: state,
		Tried: tried, Diagnosis: d, NextAttempt: next, Note: note,
	}
}

// recipientEvent is what all events about a recipient of a message have in common.
func recipientEvent(kind EventKind, m *Message, r *Recipient, now time.Time) Event {
	return Event{
		Time: now, Kind: kind, ID: m.ID, Mail: m.Mail, MessageID: m.MessageID, From: m.Envelope.From,
		To:      r.Address,
		TraceID: m.TraceID, SpanID: m.SpanID,
		Client: m.Client.Label(), User: m.Client.User, Size: m.Size, Delay: now.Sub(m.Arrived), Lane: m.Lane,
	}
}

// WebhookEvent says that a webhook was disabled or enabled, or that it has lost events that nobody sends any
// more: state is disabled, enabled or lost, note the sentence for people.
func WebhookEvent(webhook, state, note string, now time.Time) Event {
	return Event{Time: now, Kind: EventWebhook, Webhook: webhook, State: state, Note: note}
}

// SuppressionEvent says that an entry of the suppression list was created, renewed or removed.
func SuppressionEvent(state string, s *Suppression, now time.Time) Event {
	return Event{
		Time: now, Kind: EventSuppression, To: s.Address, Lane: s.Upstream, State: state, Suppression: s,
	}
}

// SuppressedEvent says that recipient i of m was not offered, because of s: at the front door, before m was
// stored, or in its lane. The recipient's last attempt stands for the one that was not made.
func SuppressedEvent(m *Message, i int, s *Suppression, now time.Time) Event {
	r := &m.Recipients[i]
	e := recipientEvent(EventSuppressed, m, r, now)
	e.Attempt, e.Tried, e.Diagnosis, e.Suppression = len(r.History), r.Last, r.Diagnosis, s
	return e
}
