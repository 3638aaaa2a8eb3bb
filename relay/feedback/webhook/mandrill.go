package webhook

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/feedback"
)

// mandrill is Mailchimp Transactional, formerly Mandrill. Its events come in a form. The signature is over
// the URL as it was entered there, which a proxy may hide from us, and over the form. It has no time: a
// request may be repeated at any age. Before the first event Mandrill tries the URL with HEAD.
//
// https://mailchimp.com/developer/transactional/docs/webhooks/
// https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
type mandrill struct {
	keys []string
	url  string
}

func openMandrill(s Source, _ Fetcher) (provider, error) {
	if s.URL == "" {
		return nil, errors.New("mandrill signs the URL that it is given, so it must be configured")
	}
	return &mandrill{s.Keys, s.URL}, nil
}

// prove implements provider.
func (p *mandrill) prove(_ context.Context, r *Request, _ time.Time) error {
	form, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return errors.New("not a form")
	}
	var b strings.Builder
	b.WriteString(p.url)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			b.WriteString(name + value)
		}
	}
	if !signed(sha1.New, p.keys, []byte(b.String()), fromBase64(r.Header.Get("X-Mandrill-Signature"))) {
		return errSignature
	}
	return nil
}

// mandrillEvent is one event of a batch.
type mandrillEvent struct {
	Event   text
	Time    text `json:"ts"`
	Message struct {
		ID          text   `json:"_id"`
		Email       text   // the recipient
		Metadata    fields // [] where there is none
		Diag        text
		Description text                  `json:"bounce_description"`
		SMTPEvents  []struct{ Diag text } `json:"smtp_events"`
		Reject      json.RawMessage
	} `json:"msg"`
}

// read implements provider.
func (p *mandrill) read(raw *feedback.Raw) ([]feedback.Event, error) {
	form, err := url.ParseQuery(string(raw.Body))
	if err != nil {
		return nil, err
	}
	if form.Get("mandrill_events") == "" {
		return nil, errors.New("the form has no events")
	}
	return batch([]byte(form.Get("mandrill_events")), readMandrill)
}

func readMandrill(element json.RawMessage) ([]feedback.Event, error) {
	var s mandrillEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		Time: s.Time.time(), Recipient: s.Message.Email.string(), Type: s.Event.string(),
		Class: s.Message.Description.string(),
	}
	diag := s.Message.Diag
	switch s.Event {
	case "hard_bounce", "soft_bounce":
		e.Kind = feedback.KindBounced
	case "deferral":
		e.Kind = feedback.KindRetrying
		if n := len(s.Message.SMTPEvents); n > 0 {
			diag = s.Message.SMTPEvents[n-1].Diag
		}
	case "delivered":
		e.Kind = feedback.KindDelivered
	case "spam":
		e.Kind = feedback.KindComplained
	case "reject":
		e.Kind, e.Text = feedback.KindDropped, rejectReason(s.Message.Reject)
	default: // "send" is handing over, the rest is about lists and clicks
		return nil, nil
	}
	if diag != "" {
		said(&e, diag)
	}
	tagged(&e, s.Message.Metadata[tagName])
	identified(&e, s.Message.ID)
	return []feedback.Event{e}, nil
}

// rejectReason is why Mandrill did not try: an object with a reason, or the reason alone.
func rejectReason(b json.RawMessage) string {
	var object struct{ Reason text }
	var alone text
	if len(b) > 0 && json.Unmarshal(b, &object) == nil {
		return object.Reason.string()
	}
	if len(b) > 0 && json.Unmarshal(b, &alone) == nil {
		return alone.string()
	}
	return ""
}
