package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"mailwhy/relay/feedback"
)

// resend is Resend. It signs by Standard Webhooks, in the fields of Svix. Its events quote no reply, and list
// all recipients of a message without saying which one is meant.
//
// https://resend.com/docs/dashboard/webhooks/event-types
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type resend struct {
	keys []*standardwebhooks.Webhook
}

func openResend(s Source, _ Fetcher) (provider, error) {
	p := &resend{}
	for _, k := range s.Keys {
		key, err := standardwebhooks.NewWebhook(k)
		if err != nil {
			return nil, errors.New("resend: not a signing secret; it begins with whsec_")
		}
		p.keys = append(p.keys, key)
	}
	return p, nil
}

// prove implements provider. The library's own check of the age goes by the machine's clock, so it is done
// here.
func (p *resend) prove(_ context.Context, r *Request, now time.Time) error {
	header := http.Header{}
	for _, name := range []string{"id", "timestamp", "signature"} {
		value := r.Header.Get("svix-" + name)
		if value == "" {
			value = r.Header.Get("webhook-" + name)
		}
		header.Set("webhook-"+name, value)
	}
	for _, key := range p.keys {
		if key.VerifyIgnoringTimestamp(r.Body, header) == nil {
			return recent(header.Get("webhook-timestamp"), now, 5*time.Minute, 5*time.Minute)
		}
	}
	return errSignature
}

// resendEvent is a request's body.
type resendEvent struct {
	Type      text
	CreatedAt text `json:"created_at"`
	Data      struct {
		EmailID    text `json:"email_id"`
		MessageID  text `json:"message_id"`
		To         []string
		Bounce     resendCause
		Suppressed resendCause
		Failed     resendCause
	}
}

// resendCause is why mail did not arrive, in types of SES and in prose.
type resendCause struct{ Type, SubType, Message, Reason text }

// read implements provider.
func (p *resend) read(raw *feedback.Raw) ([]feedback.Event, error) {
	var s resendEvent
	if err := decode(raw.Body, &s); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	e := feedback.Event{
		ID:   text(raw.Header["Svix-Id"]).or(text(raw.Header["Webhook-Id"])),
		Time: s.CreatedAt.time(), Type: s.Type.string(), Shared: len(s.Data.To) > 1, Raw: raw.Body,
	}
	cause := s.Data.Bounce
	switch s.Type {
	case "email.bounced":
		e.Kind = feedback.KindBounced
		if cause.SubType == "Suppressed" || cause.SubType == "OnAccountSuppressionList" {
			e.Kind = feedback.KindDropped
		}
	case "email.delivery_delayed":
		e.Kind = feedback.KindRetrying
	case "email.delivered":
		e.Kind = feedback.KindDelivered
	case "email.complained":
		e.Kind = feedback.KindComplained
	case "email.suppressed":
		e.Kind, cause = feedback.KindDropped, s.Data.Suppressed
	case "email.failed":
		e.Kind, cause = feedback.KindDropped, s.Data.Failed
	default:
		return nil, nil
	}
	if cause.Type != "" {
		e.Type = cause.Type.string()
	}
	e.Class, e.Text = cause.SubType.string(), cause.Message.or(cause.Reason)
	identified(&e, s.Data.EmailID)
	named(&e, s.Data.MessageID)
	return spread(e, s.Data.To), nil
}
