package relay

import (
	"time"

	"mailwhy/diagnose"
)

// This file has a constructor for each kind of event, so that the same thing is told in the same fields wherever it
// happens.

// AcceptedEvent tells that recipient i of m was accepted: 250 follows.
func AcceptedEvent(m *Message, i int, now time.Time) Event {
	e := recipientEvent(EventAccepted, m, &m.Recipients[i], now)
	e.First, e.Delay = i == 0, 0
	return e
}

// AttemptEvent tells what r.Last, an attempt that was just made for r, has led to.
func AttemptEvent(m *Message, r *Recipient, now time.Time) Event {
	e := recipientEvent(EventOf(r.State), m, r, now)
	e.Attempt, e.Tried, e.Diagnosis, e.Note = len(r.History), r.Last, r.Diagnosis, r.HeldWhy
	if r.State == Deferred {
		e.NextAttempt = r.NextAttempt
	}
	if r.Last.NetErr.Kind == diagnose.NetCorrupt {
		e.Kind = EventQuarantined
	}
	return e
}

// EventOf is the kind of event that tells of a recipient's new state after an attempt.
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

// OperatorEvent tells that the operator held, released or dropped a recipient. r is as it stands afterwards.
func OperatorEvent(kind EventKind, m *Message, r *Recipient, now time.Time) Event {
	e := recipientEvent(kind, m, r, now)
	e.Attempt, e.Note = r.Attempts, ByOperator
	if kind == EventReleased {
		e.NextAttempt = r.NextAttempt
	}
	return e
}

// ReportGivenUpEvent tells that m, a report of our own about the message with the id about, is given up for r.
func ReportGivenUpEvent(m *Message, r *Recipient, about, note string, now time.Time) Event {
	e := recipientEvent(EventExpired, m, r, now)
	e.Attempt, e.Tried, e.Diagnosis, e.DSN, e.Note = len(r.History), r.Last, r.Diagnosis, about, note
	return e
}

// ReportedEvent tells that the sender of m is told about recipient i, by the report with the id dsn.
func ReportedEvent(m *Message, i int, kind NoticeKind, dsn string, now time.Time) Event {
	r := &m.Recipients[i]
	e := Event{
		Time: now, Kind: EventDSN, ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From, To: r.Address,
		Attempt: r.Attempts, Delay: now.Sub(m.Arrived), Diagnosis: r.Diagnosis, DSN: dsn, DSNKind: kind,
	}
	if kind == NoticeDelayed {
		e.Kind, e.NextAttempt = EventDelayed, r.NextAttempt
	}
	return e
}

// ReportEvent tells that a report was made, to its recipient i, about the message with the id about.
func ReportEvent(report *Message, i int, kind NoticeKind, about, note string, now time.Time) Event {
	return Event{
		Time: now, Kind: EventDSN, First: i == 0, ID: report.ID, MessageID: report.MessageID,
		To: report.Recipients[i].Address, Size: report.Size, DSN: about, DSNKind: kind, Note: note, Lane: report.Lane,
	}
}

// RefusedEvent tells that the front door answered a command of a client with a refusal.
func RefusedEvent(client, user string, stage diagnose.Stage, from, to, reply string, now time.Time) Event {
	return Event{
		Time: now, Kind: EventRefused, Client: client, User: user, Stage: stage, From: from, To: to, Reply: reply,
	}
}

// QuarantinedEvents tell that the spool set a damaged message aside: one for each recipient that could be read from
// m, which is nil when nothing could.
func QuarantinedEvents(id string, m *Message, why string, now time.Time) []Event {
	e := Event{Time: now, Kind: EventQuarantined, ID: id, Note: why}
	if m == nil {
		return []Event{e}
	}
	e.MessageID, e.From, e.Client, e.Size, e.Lane = m.MessageID, m.Envelope.From, m.Client.Name, m.Size, m.Lane
	var events []Event
	for i := range m.Recipients {
		e.To = m.Recipients[i].Address
		events = append(events, e)
	}
	return events
}

// LaneEvent tells that a lane is in a state: paused, resumed, slowed or refused. tried and d say why; they may be nil.
func LaneEvent(lane, state string, tried *Attempt, d *diagnose.Diagnosis, next time.Time, note string, now time.Time) Event {
	return Event{
		Time: now, Kind: EventLane, Lane: lane, State: state, Diagnosis: d, Tried: tried, Note: note, NextAttempt: next,
	}
}

// recipientEvent is what all events about a recipient of a message have in common.
func recipientEvent(kind EventKind, m *Message, r *Recipient, now time.Time) Event {
	return Event{
		Time: now, Kind: kind, ID: m.ID, MessageID: m.MessageID, From: m.Envelope.From, To: r.Address,
		Client: m.Client.Label(), User: m.Client.User, Size: m.Size, Delay: now.Sub(m.Arrived), Lane: m.Lane,
	}
}
