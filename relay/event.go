package relay

import (
	"time"

	"mailwhy/diagnose"
)

// EventKind names what happened. The names are the delivery log's vocabulary.
type EventKind string

// The kinds of events. All but EventLane, EventRefused, EventSuppression and EventWebhook concern one
// recipient of one message.
const (
	EventAccepted    EventKind = "accepted"    // stored, or relayed while the client waited; 250 follows
	EventRelayed     EventKind = "relayed"     // the upstream took it
	EventDeferred    EventKind = "deferred"    // to be tried again
	EventDelayed     EventKind = "delayed"     // a delay was reported to the sender
	EventFailed      EventKind = "failed"      // refused for good
	EventExpired     EventKind = "expired"     // given up after the retry limit
	EventSuppressed  EventKind = "suppressed"  // not tried: the address is on the suppression list
	EventHeld        EventKind = "held"        // waits for the operator
	EventReleased    EventKind = "released"    // no longer held
	EventMoved       EventKind = "moved"       // waits for another upstream
	EventDropped     EventKind = "dropped"     // removed by the operator
	EventRefused     EventKind = "refused"     // the front door said no
	EventQuarantined EventKind = "quarantined" // damaged; set aside
	EventDSN         EventKind = "dsn"         // a report was made
	EventLane        EventKind = "lane"        // a lane paused, resumed or slowed, or its mail is refused
	EventWebhook     EventKind = "webhook"     // a webhook was disabled or enabled, or has lost events
	EventSuppression EventKind = "suppression" // an entry of the suppression list was created or removed

	// What becomes known after the upstream's 250; see Feedback.
	EventRetrying   EventKind = "retrying"   // the upstream could not deliver it yet and goes on trying
	EventDelivered  EventKind = "delivered"  // the recipient's server took it
	EventBounced    EventKind = "bounced"    // the recipient's server refused it, or the upstream gave up
	EventComplained EventKind = "complained" // the recipient calls it spam
)

// EventKinds are all of them.
func EventKinds() []EventKind {
	return []EventKind{EventAccepted, EventRelayed, EventDeferred, EventDelayed, EventFailed, EventExpired,
		EventSuppressed, EventHeld, EventReleased, EventMoved, EventDropped, EventRefused, EventQuarantined,
		EventDSN, EventLane, EventSuppression, EventWebhook, EventRetrying, EventDelivered, EventBounced,
		EventComplained}
}

// Event is one thing that happened, for the delivery log, metrics and other recorders. Fields that do not
// apply are zero.
type Event struct {
	Time        time.Time
	Kind        EventKind
	First       bool   // of a message's accepted events, a report's own dsn events, or a refusal's
	ID          string // queue id
	Mail        string // queue id of the mail that was parted over several lanes; see Message.Mail
	MessageID   string
	TraceID     string // see Message.TraceID
	SpanID      string
	From        string
	To          string
	Given       []string // of an accepted message: see Recipient.Given
	Client      string   // its configured name, else its address
	User        string
	Size        int64
	Changed     []string      // of an accepted message: what was mended; of an attempt: what was done since
	Attempt     int           // number of the attempt, from 1
	Delay       time.Duration // since the message arrived
	Tried       *Attempt      // what the upstream said
	NextAttempt time.Time
	Diagnosis   *diagnose.Diagnosis
	Stage       diagnose.Stage // of a refusal at the front door
	Reply       string         // our own reply, of a refusal at the front door
	Lane        string         // name of the lane
	Route       string         // name of the route that chose it
	Policy      string         // name of the policy that decided, or for which a lane paused or slowed
	State       string         // of a lane: paused, resumed, slowed, refused; see WebhookEvent too
	Webhook     string         // name of the webhook
	Note        string         // a sentence for people
	DSN         string         // queue id of the report about this message, or the reverse
	DSNKind     NoticeKind
	Feedback    *Feedback // of what became known after the upstream's 250; else nil
	Owed        bool      // webhooks get it from the outbox (TopicWebhook), not from a Recorder
	// Suppression is the entry that the event is about, or for which the recipient was not tried.
	Suppression *Suppression
	SuppressFor time.Duration // a policy orders that no more mail goes to the recipient for so long
}

// Feedback is what an event rests on that became known after the upstream's 250. The reply of the recipient's
// server, where one was quoted, is the event's Tried, at the stage diagnose.StageRemote.
type Feedback struct {
	Source       string    `json:"source"`                  // webhook, dsn or arf, see package feedback
	Provider     string    `json:"provider,omitempty"`      // whose webhook, or the host that reports
	ProviderType string    `json:"provider_type,omitempty"` // the provider's own name for what happened
	EventID      string    `json:"event_id"`                // the provider's, or one made from what it says
	Trust        Trust     `json:"trust"`                   // how well it is proved and matched
	MatchedBy    string    `json:"matched_by"`              // the kind of key that found the message
	ReportedAt   time.Time `json:"reported_at"`             // when it came, by our clock
}

// Trust grades feedback by how well it is proved and matched. It bounds what feedback may do.
type Trust string

// The grades, the best first.
const (
	// TrustProven is a webhook with proof, a return path of ours for this very recipient, or what is likely
	// and was written by the mail system of the recipient's domain or of the upstream, by DKIM or SPF.
	TrustProven Trust = "proven"
	TrustLikely Trust = "likely" // a queue id of ours together with a recipient of that message
	TrustWeak   Trust = "weak"   // a Message-ID and a recipient: for the log only
	TrustGuess  Trust = "guess"  // a recipient and a time: for the log only
)

// Recorder takes events. It is safe for concurrent use and keeps no reference to what an Event points at.
// Record is called between a settlement and the worker's next content, so it returns at once. The delivery
// log alone may wait, for a blocked output: it drops nothing.
type Recorder interface {
	Record(Event)
}

// Recorders is a Recorder that hands each event to all of its members in turn; one that waits stands last.
type Recorders []Recorder

// Record implements Recorder.
func (rs Recorders) Record(e Event) {
	for _, r := range rs {
		r.Record(e)
	}
}
