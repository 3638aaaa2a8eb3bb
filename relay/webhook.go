package relay

import (
	"fmt"
	"time"
)

// WebhookState is how a webhook stands, to which events are sent.
type WebhookState struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"`   // without a query, which may hold a secret
	State    string    `json:"state"` // ok, failing or disabled
	Since    time.Time `json:"since,omitzero"`
	Why      string    `json:"why,omitempty"` // the last failure
	Backlog  int64     `json:"backlog"`       // events that are still to be sent
	Oldest   time.Time `json:"oldest,omitzero"`
	Next     time.Time `json:"next,omitzero"` // when it is tried again, of one that fails
	Events   uint64    `json:"events"`        // that it took, since the start
	Lost     uint64    `json:"lost"`          // events that were given up, since the start
	Requests []uint64  `json:"-"`             // by their result, in the order of WebhookResults
}

// The states of a webhook.
const (
	WebhookOK       = "ok"
	WebhookFailing  = "failing"
	WebhookDisabled = "disabled"
)

// WebhookResults are what becomes of a request to a webhook: a 2xx; a 429, 502, 503 or 504; another 4xx; any
// other answer; none in time; no connection, or none that is trusted; an address that is never connected to.
func WebhookResults() []string {
	return []string{"ok", "throttled", "refused", "error", "timeout", "unreachable", "forbidden"}
}

// WebhookTest is what became of a test event.
type WebhookTest struct {
	OK     bool          `json:"ok"`
	ID     string        `json:"id"`               // in webhook-id
	Status int           `json:"status,omitempty"` // HTTP status of the answer
	Why    string        `json:"why,omitempty"`    // it is not OK
	Took   time.Duration `json:"took"`             // nanoseconds
}

// UnknownWebhookError is the name of a webhook that is not configured. It is an ErrNotFound.
type UnknownWebhookError string

// Error implements error.
func (e UnknownWebhookError) Error() string {
	return fmt.Sprintf("there is no webhook %q; `mailwhy webhook list` shows them", string(e))
}

// Is makes it an ErrNotFound.
func (e UnknownWebhookError) Is(target error) bool { return target == ErrNotFound }
