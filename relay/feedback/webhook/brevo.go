package webhook

import (
	"encoding/json"

	"mailwhy/relay/feedback"
)

// brevo is Brevo, formerly Sendinblue. It signs nothing; it sends basic auth or a bearer token along. Any
// refusal but 429 makes it discard the event. Of its times only ts_epoch is in UTC; events come out of order
// and have no id.
//
// https://developers.brevo.com/docs/transactional-webhooks
type brevo struct{ unsigned }

func openBrevo(Source, Fetcher) (provider, error) { return &brevo{}, nil }

// brevoEvent is one event of a batch, or the only one of a request.
type brevoEvent struct {
	Event     text
	Email     text
	MessageID text `json:"message-id"` // also the id in the 250; some events have another host behind the @
	Time      text `json:"ts_epoch"`
	Reason    text
}

// read implements provider.
func (p *brevo) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readBrevo)
}

func readBrevo(element json.RawMessage) ([]feedback.Event, error) {
	var s brevoEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{Time: s.Time.time(), Recipient: s.Email.string(), Type: s.Event.string()}
	switch s.Event {
	case "hard_bounce", "soft_bounce", "invalid_email":
		e.Kind = feedback.KindBounced
	case "deferred": // even with a 5yz quoted: Brevo goes on trying, and tells the end of it
		e.Kind = feedback.KindRetrying
	case "delivered":
		e.Kind = feedback.KindDelivered
	case "spam", "complaint":
		e.Kind = feedback.KindComplained
	case "blocked", "error": // on its own list; its own failure
		e.Kind = feedback.KindDropped
	default:
		return nil, nil
	}
	if s.Reason != "" {
		said(&e, s.Reason)
	}
	identified(&e, s.MessageID)
	named(&e, s.MessageID)
	return []feedback.Event{e}, nil
}
