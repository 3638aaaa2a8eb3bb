package admin

import (
	"strings"
	"time"

	"mailwhy/relay"
)

// Action is what an operator does to messages.
type Action string

// The actions.
const (
	Retry   Action = "retry"   // try now what waits
	Hold    Action = "hold"    // let what waits wait for the operator
	Release Action = "release" // let what is held go on, now
	Drop    Action = "drop"    // remove the message without a bounce
)

// Actions are all of them.
func Actions() []Action { return []Action{Retry, Hold, Release, Drop} }

// about says what the action does.
func (a Action) about() string {
	switch a {
	case Retry:
		return "Try waiting mail now"
	case Hold:
		return "Hold waiting mail until it is released"
	case Release:
		return "Release held mail, and try it now"
	}
	return "Remove without a bounce"
}

// change alters the recipients of a message and returns how many it altered; drop removes the message.
type change func(m *relay.Message) (n int, drop bool)

// actions are the changes that each Action makes at now.
func actions(now time.Time) map[Action]change {
	return map[Action]change{
		Retry:   func(m *relay.Message) (int, bool) { return eachRecipient(m, retry(now)), false },
		Hold:    func(m *relay.Message) (int, bool) { return eachRecipient(m, hold), false },
		Release: func(m *relay.Message) (int, bool) { return eachRecipient(m, release(now)), false },
		Drop:    func(m *relay.Message) (int, bool) { return len(m.Recipients), true },
	}
}

// eachRecipient alters every recipient and returns how many were altered.
func eachRecipient(m *relay.Message, alter func(*relay.Recipient) bool) (n int) {
	for i := range m.Recipients {
		if alter(&m.Recipients[i]) {
			n++
		}
	}
	return n
}

// retry makes a waiting recipient due. The schedule goes on from where it was.
func retry(now time.Time) func(*relay.Recipient) bool {
	return func(r *relay.Recipient) bool {
		if !r.Waiting() || r.DueAt(now) {
			return false
		}
		r.NextAttempt = now
		return true
	}
}

// hold sets a waiting recipient aside.
func hold(r *relay.Recipient) bool {
	if !r.Waiting() {
		return false
	}
	r.HeldFrom, r.State, r.HeldWhy = r.State, relay.Held, relay.ByOperator
	return true
}

// release lets a held recipient go on where it was, at once. What was exported may be in another spool, too,
// and goes on only by the command that knows: queue export --undo.
func release(now time.Time) func(*relay.Recipient) bool {
	return func(r *relay.Recipient) bool {
		if r.State != relay.Held || strings.HasPrefix(r.HeldWhy, relay.HeldExported) {
			return false
		}
		r.State = r.HeldFrom
		if !r.Waiting() {
			r.State = relay.Deferred
		}
		r.HeldFrom, r.HeldWhy, r.NextAttempt = "", "", now
		return true
	}
}

// eventsOf are the events of a change: one for each recipient whose state it altered, or that went with its
// message.
func eventsOf(now time.Time, before []relay.Recipient, m *relay.Message,
	dropped bool) (events []relay.Event) {
	for i := range m.Recipients {
		was, r := before[i].State, &m.Recipients[i]
		var kind relay.EventKind
		switch {
		case dropped && !was.Final():
			kind = relay.EventDropped
		case !dropped && r.State == relay.Held && was != relay.Held:
			kind = relay.EventHeld
		case !dropped && was == relay.Held && r.State != relay.Held:
			kind = relay.EventReleased
		default:
			continue
		}
		events = append(events, relay.OperatorEvent(kind, m, r, now))
	}
	return events
}
