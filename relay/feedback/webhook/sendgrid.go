package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"mailwhy/relay/feedback"
)

// sendGrid is Twilio SendGrid's signed event webhook. It tries again for a day, so a signature may be that
// old. Bounces that come after the recipient's server took the mail have neither sg_message_id nor unique
// arguments: recipient and time are all that they tell.
//
// https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
// https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
type sendGrid struct{ keys []*ecdsa.PublicKey }

const (
	sendGridSignature = "X-Twilio-Email-Event-Webhook-Signature"
	sendGridTimestamp = "X-Twilio-Email-Event-Webhook-Timestamp"
)

// openSendGrid reads the public keys, as the settings page shows them: SubjectPublicKeyInfo in base64.
func openSendGrid(s Source, _ Fetcher) (provider, error) {
	p := &sendGrid{}
	for _, k := range s.Keys {
		der, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			return nil, errors.New("sendgrid: the public key is not base64")
		}
		key, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, errors.New("sendgrid: not a public key")
		}
		ec, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return nil, errors.New("sendgrid: not an ECDSA key")
		}
		p.keys = append(p.keys, ec)
	}
	return p, nil
}

// prove implements provider. The signature is over the timestamp and the body.
func (p *sendGrid) prove(_ context.Context, r *Request, now time.Time) error {
	timestamp := r.Header.Get(sendGridTimestamp)
	signature := fromBase64(r.Header.Get(sendGridSignature))
	digest := sha256.Sum256(append([]byte(timestamp), r.Body...))
	for _, key := range p.keys {
		if ecdsa.VerifyASN1(key, digest[:], signature) {
			return recent(timestamp, now, 48*time.Hour, time.Hour)
		}
	}
	return errSignature
}

// sendGridEvent is one event of a batch. Unique arguments stand beside the fields.
type sendGridEvent struct {
	Event          text
	Type           text
	Email          text
	Timestamp      text
	Status         text
	Reason         text
	Response       text
	Classification text `json:"bounce_classification"`
	SMTPID         text `json:"smtp-id"`
	EventID        text `json:"sg_event_id"`
	MessageID      text `json:"sg_message_id"`
	Tag            text `json:"mw"`
}

// read implements provider.
func (p *sendGrid) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readSendGrid)
}

func readSendGrid(element json.RawMessage) ([]feedback.Event, error) {
	var s sendGridEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		ID: s.EventID.string(), Time: s.Timestamp.time(), Recipient: s.Email.string(),
		Type: s.Event.string(), Class: s.Classification.string(), Status: s.Status.string(),
	}
	switch s.Event {
	case "bounce": // of type "bounce", or "blocked": refused for now, and not tried again
		e.Kind, e.Type = feedback.KindBounced, s.Type.or(s.Event)
		said(&e, s.Reason)
	case "deferred":
		e.Kind = feedback.KindRetrying
		said(&e, s.Response.orText(s.Reason))
	case "delivered":
		e.Kind = feedback.KindDelivered
		said(&e, s.Response)
	case "dropped":
		e.Kind = feedback.KindDropped
		said(&e, s.Reason)
	case "spamreport":
		e.Kind = feedback.KindComplained
	default:
		return nil, nil
	}
	tagged(&e, s.Tag)
	inReply, _, _ := strings.Cut(s.MessageID.string(), ".") // what the 250 named it
	identified(&e, text(inReply), s.MessageID)
	named(&e, s.SMTPID)
	return []feedback.Event{e}, nil
}
