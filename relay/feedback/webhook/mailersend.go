package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"mailwhy/relay/feedback"
)

// mailerSend is MailerSend. It waits 3 s for an answer and tries twice more, 10 s and 100 s later. Its
// signature is over the body alone: a request may be repeated at any age. It quotes no reply, a few words at
// most.
//
// https://developers.mailersend.com/api/v1/webhooks.html
type mailerSend struct{ keys []string }

func openMailerSend(s Source, _ Fetcher) (provider, error) { return &mailerSend{s.Keys}, nil }

// prove implements provider.
func (p *mailerSend) prove(_ context.Context, r *Request, _ time.Time) error {
	signature, err := hex.DecodeString(r.Header.Get("Signature"))
	if err != nil || !signed(sha256.New, p.keys, r.Body, signature) {
		return errSignature
	}
	return nil
}

// mailerSendEvent is a request's body.
type mailerSendEvent struct {
	Type      text
	CreatedAt text `json:"created_at"`
	Data      struct {
		ID        text
		CreatedAt text `json:"created_at"`
		Email     struct {
			ID        text // the local part of the Message-ID, at mailersend.net
			Message   struct{ ID text }
			Recipient struct{ Email text }
		}
		Morph struct {
			Object         text
			Reason         text
			ReadableReason text `json:"readable_reason"`
		}
	}
}

// read implements provider.
func (p *mailerSend) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readMailerSend)
}

func readMailerSend(element json.RawMessage) ([]feedback.Event, error) {
	var s mailerSendEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		ID: s.Data.ID.string(), Time: s.Data.CreatedAt.orText(s.CreatedAt).time(),
		Recipient: s.Data.Email.Recipient.Email.string(), Type: s.Type.string(),
		Class: s.Data.Morph.Object.string(),
	}
	switch s.Type {
	case "activity.hard_bounced", "activity.soft_bounced":
		e.Kind = feedback.KindBounced
	case "activity.delivered":
		e.Kind = feedback.KindDelivered
	case "activity.spam_complaint":
		e.Kind = feedback.KindComplained
	default:
		return nil, nil
	}
	if words := s.Data.Morph.Reason.orText(s.Data.Morph.ReadableReason); words != "" {
		said(&e, words)
	}
	identified(&e, s.Data.Email.ID, s.Data.Email.Message.ID)
	return []feedback.Event{e}, nil
}
