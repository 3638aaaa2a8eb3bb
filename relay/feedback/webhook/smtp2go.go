package webhook

import (
	"encoding/json"
	"mime"
	"net/url"

	"mailwhy/relay/feedback"
)

// smtp2go is SMTP2GO. It signs nothing; it sends an Authorization field of one's choice along. Events are
// JSON or a form, as the webhook is set up, and tell the header fields that it is set up to tell. It reports
// no deferrals.
//
// https://developers.smtp2go.com/docs/webhooks-overview
// https://support.smtp2go.com/hc/en-gb/articles/223087967
type smtp2go struct{ unsigned }

func openSMTP2GO(Source, Fetcher) (provider, error) { return &smtp2go{}, nil }

// smtp2goEvent is a request's body.
type smtp2goEvent struct {
	Event     text
	Bounce    text // "hard" or "soft"
	Time      text
	Recipient text `json:"rcpt"`
	Host      text
	Message   text
	Context   text
	EmailID   text `json:"email_id"`
	MessageID text `json:"Message-ID"`
}

// read implements provider.
func (p *smtp2go) read(raw *feedback.Raw) ([]feedback.Event, error) {
	kind, _, _ := mime.ParseMediaType(raw.Header["Content-Type"])
	if kind != "application/x-www-form-urlencoded" {
		return batch(raw.Body, readSMTP2GO)
	}
	form, err := url.ParseQuery(string(raw.Body))
	if err != nil {
		return nil, err
	}
	object := map[string]string{}
	for name := range form {
		object[name] = form.Get(name)
	}
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return batch(body, readSMTP2GO)
}

func readSMTP2GO(element json.RawMessage) ([]feedback.Event, error) {
	var s smtp2goEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		Time: s.Time.time(), Recipient: s.Recipient.string(), Type: s.Event.string(),
		Class: s.Bounce.string(), Host: s.Host.string(),
	}
	switch s.Event {
	case "bounce":
		e.Kind = feedback.KindBounced
	case "delivered":
		e.Kind = feedback.KindDelivered
	case "spam":
		e.Kind = feedback.KindComplained
	case "reject": // on its list, from an earlier bounce or complaint
		e.Kind = feedback.KindDropped
	default:
		return nil, nil
	}
	if words := s.Message.orText(s.Context); words != "" {
		said(&e, words)
	}
	identified(&e, s.EmailID)
	named(&e, s.MessageID)
	return []feedback.Event{e}, nil
}
