package relay

import (
	"time"

	"mailwhy/diagnose"
)

// EventKind names what happened. The names are the delivery log's vocabulary.
type EventKind string

// The kinds of events. All but EventLane and EventRefused concern one recipient of one message.
const (
	EventAccepted    EventKind = "accepted"    // stored; 250 follows
	EventRelayed     EventKind = "relayed"     // the upstream took it
	EventDeferred    EventKind = "deferred"    // to be tried again
	EventDelayed     EventKind = "delayed"     // the sender is told that it takes long
	EventFailed      EventKind = "failed"      // refused for good
	EventExpired     EventKind = "expired"     // given up after the retry limit
	EventSuppressed  EventKind = "suppressed"  // not tried, by the operator's wish
	EventHeld        EventKind = "held"        // waits for the operator
	EventReleased    EventKind = "released"    // no longer held
	EventDropped     EventKind = "dropped"     // removed by the operator
	EventRefused     EventKind = "refused"     // the front door said no
	EventQuarantined EventKind = "quarantined" // damaged; set aside
	EventDSN         EventKind = "dsn"         // a report was made
	EventLane        EventKind = "lane"        // a lane paused, resumed, slowed or is refused
)

// Event is one thing that happened, for the delivery log, metrics and whoever else records. Fields that do not apply
// are zero.
type Event struct {
	Time        time.Time
	Kind        EventKind
	First       bool   // of the accepted events of a message, or of the dsn events that are a report's own: its first, to count it by
	ID          string // queue id
	MessageID   string
	From        string
	To          string
	Client      string // its configured name, else its address
	User        string
	Size        int64
	Attempt     int           // number of the attempt, from 1
	Delay       time.Duration // since the message arrived
	Tried       *Attempt      // what the upstream said
	NextAttempt time.Time
	Diagnosis   *diagnose.Diagnosis
	Stage       diagnose.Stage // of a refusal at the front door
	Reply       string         // our own reply, of a refusal at the front door
	Lane        string         // name of the lane
	State       string         // of a lane: paused, resumed, slowed, refused
	Note        string         // a sentence for people
	DSN         string         // queue id of the report about this message, or of the message that this reports on
	DSNKind     NoticeKind
}

// Recorder takes events. It is safe for concurrent use and keeps no reference to what an Event points at. It may
// block: the delivery log drops nothing.
type Recorder interface {
	Record(Event)
}

// Recorders is a Recorder that hands each event to all of its members in turn.
type Recorders []Recorder

// Record implements Recorder.
func (rs Recorders) Record(e Event) {
	for _, r := range rs {
		r.Record(e)
	}
}
