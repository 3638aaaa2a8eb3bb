package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"mailwhy/relay/feedback"
)

// mailgun is Mailgun. Its signature stands in the body and is over a time and a token only: whoever has seen
// one can put any event under it while its time is near. The token is therefore the event's id, so that what
// comes a second time under it is a repetition, whatever it says. A credential beside the key closes the gap.
//
// https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
// https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
type mailgun struct{ keys []string }

func openMailgun(s Source, _ Fetcher) (provider, error) { return &mailgun{s.Keys}, nil }

// mailgunReport is a request's body.
type mailgunReport struct {
	Signature struct{ Timestamp, Token, Signature text }
	EventData json.RawMessage `json:"event-data"`
}

// mailgunEvent is the event in it.
type mailgunEvent struct {
	Event     text
	Severity  text
	Reason    text
	Recipient text
	Timestamp text
	Reject    struct{ Reason text }
	Message   struct {
		Headers struct {
			MessageID text `json:"message-id"`
		}
	}
	Variables      fields         `json:"user-variables"`
	DeliveryStatus mailgunOutcome `json:"delivery-status"`
}

// mailgunOutcome is what the recipient's server said, or what Mailgun says in its place.
type mailgunOutcome struct {
	Code        text
	Message     text
	Description text
	Host        text `json:"mx-host"`
}

// prove implements provider.
func (p *mailgun) prove(_ context.Context, r *Request, now time.Time) error {
	var report struct {
		Signature struct{ Timestamp, Token, Signature text }
	}
	if err := decode(r.Body, &report); err != nil {
		return err
	}
	s := report.Signature
	signature, err := hex.DecodeString(s.Signature.string())
	if err != nil || s.Token == "" ||
		!signed(sha256.New, p.keys, []byte(s.Timestamp+s.Token), signature) {
		return errSignature
	}
	return recent(s.Timestamp.string(), now, 24*time.Hour, 10*time.Minute)
}

// read implements provider.
func (p *mailgun) read(raw *feedback.Raw) ([]feedback.Event, error) {
	var report mailgunReport
	if err := decode(raw.Body, &report); err != nil {
		return nil, err
	}
	var m mailgunEvent
	if err := decode(report.EventData, &m); err != nil {
		return nil, err
	}
	e := feedback.Event{
		ID: report.Signature.Token.string(), Time: m.Timestamp.time(), Recipient: m.Recipient.string(),
		Type: m.Severity.or(m.Event), Class: m.Reason.string(), Host: m.DeliveryStatus.Host.string(),
		Raw: report.EventData,
	}
	if e.Kind = m.kind(); e.Kind == "" {
		return nil, nil
	}
	m.DeliveryStatus.into(&e)
	if m.Event == "rejected" {
		e.Text = m.Reject.Reason.string()
	}
	tagged(&e, m.Variables[tagName])
	named(&e, m.Message.Headers.MessageID)
	return []feedback.Event{e}, nil
}

// kind is what the event means, "" if it does not concern delivery.
func (m *mailgunEvent) kind() feedback.Kind {
	switch {
	case m.Event == "failed" && m.Severity == "temporary":
		return feedback.KindRetrying
	case m.Event == "failed" && strings.HasPrefix(m.Reason.string(), "suppress-"), m.Event == "rejected":
		return feedback.KindDropped
	case m.Event == "failed":
		return feedback.KindBounced
	case m.Event == "delivered":
		return feedback.KindDelivered
	case m.Event == "complained":
		return feedback.KindComplained
	}
	return ""
}

// into writes what was said into an event. Mailgun has numbers of its own for failures without a reply.
func (o *mailgunOutcome) into(e *feedback.Event) {
	words := o.Message.orText(o.Description)
	switch code := o.Code.code(); {
	case code == 498 || code == 499 || code >= 600:
		e.Code, e.Text = code, words.string()
	case code >= 200:
		e.Reply = assembled(code, words)
	default:
		said(e, words)
	}
}
