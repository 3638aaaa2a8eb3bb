package webhook

import (
	"encoding/json"

	"mailwhy/relay/feedback"
)

// postmark is Postmark. It signs nothing; it sends basic auth or fields of one's choice along.
//
// https://postmarkapp.com/developer/webhooks/bounce-webhook and the pages beside it;
// https://postmarkapp.com/developer/api/bounce-api#bounce-types
type postmark struct{ unsigned }

func openPostmark(Source, Fetcher) (provider, error) { return &postmark{}, nil }

// postmarkEvent is a request's body.
type postmarkEvent struct {
	RecordType  text
	ID          text
	Type        text
	MessageID   text
	Metadata    fields
	Email       text // of a bounce or a complaint
	Recipient   text // of a delivery
	Details     text
	Description text
	BouncedAt   text
	DeliveredAt text
}

// read implements provider.
func (p *postmark) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readPostmark)
}

func readPostmark(element json.RawMessage) ([]feedback.Event, error) {
	var s postmarkEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		Time: s.BouncedAt.orText(s.DeliveredAt).time(), Recipient: s.Email.or(s.Recipient),
		Type: s.Type.or(s.RecordType),
	}
	if s.ID != "" {
		e.ID = s.RecordType.string() + "/" + s.ID.string()
	}
	if e.Kind = s.kind(); e.Kind == "" {
		return nil, nil
	}
	if s.Details != "" {
		said(&e, s.Details)
	}
	if e.Text == "" && e.Reply == "" {
		e.Text = s.Description.string()
	}
	tagged(&e, s.Metadata[tagName])
	identified(&e, s.MessageID)
	return []feedback.Event{e}, nil
}

// kind is what the event means, "" if it does not concern delivery: an automatic answer, a subscription.
func (s *postmarkEvent) kind() feedback.Kind {
	switch s.RecordType {
	case "Delivery":
		return feedback.KindDelivered
	case "SpamComplaint":
		return feedback.KindComplained
	case "Bounce":
	default:
		return ""
	}
	switch s.Type {
	case "Transient", "DnsError":
		return feedback.KindRetrying
	case "SpamComplaint":
		return feedback.KindComplained
	case "ManuallyDeactivated", "BadEmailAddress", "Unconfirmed", "SMTPApiError", "TemplateRenderingFailed":
		return feedback.KindDropped
	case "AutoResponder", "AddressChange", "ChallengeVerification", "Subscribe", "Unsubscribe",
		"OpenRelayTest", "InboundError":
		return ""
	}
	return feedback.KindBounced
}
