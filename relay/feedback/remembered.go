package feedback

import (
	"mailwhy/diagnose"
	"mailwhy/relay"
)

// State is what is known of a recipient since its message was handed to the upstream. It goes forward only.
type State string

// The states, in their order.
const (
	StateUncertain  State = "uncertain" // the connection was lost after the final dot
	StateRelayed    State = "relayed"
	StateRetrying   State = "retrying"
	StateDelivered  State = "delivered"
	StateBounced    State = "bounced" // dropped by the provider, too
	StateComplained State = "complained"
)

// Before reports whether s comes before t.
func (s State) Before(t State) bool { return s.rank() < t.rank() }

// rank is the place of a state in their order.
func (s State) rank() int {
	for i, other := range [...]State{
		StateUncertain, StateRelayed, StateRetrying, StateDelivered, StateBounced, StateComplained,
	} {
		if s == other {
			return i + 1
		}
	}
	return 0
}

// Told is what one report told of one recipient of a message, and what it means.
type Told struct {
	Recipient int                 `json:"recipient"` // index into Message.Recipients
	Kind      relay.EventKind     `json:"kind"`
	Attempt   relay.Attempt       `json:"attempt"` // at the stage diagnose.StageRemote
	Diagnosis *diagnose.Diagnosis `json:"diagnosis,omitempty"`
	Feedback  relay.Feedback      `json:"feedback"`
	Note      string              `json:"note,omitempty"` // a sentence for people
}

// Event is the event that t is.
func (t *Told) Event(m *relay.Message) relay.Event {
	f, a := t.Feedback, t.Attempt
	r := m.Recipients[t.Recipient]
	r.Last, r.Diagnosis = &a, t.Diagnosis
	e := relay.FeedbackEvent(t.Kind, m, &r, &f, f.ReportedAt)
	e.Note = t.Note
	return e
}

// Remembered is a message that was relayed, and all that came back for it.
type Remembered struct {
	Message *relay.Message
	States  []State // of each of Message.Recipients; empty for one that was not handed over
	Told    []Told  // in the order in which it came
}
