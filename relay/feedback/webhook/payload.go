package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"mailwhy/relay/feedback"
)

// ReadUnproven reads the events of a payload that a person has at hand, and checks no proof of origin. What
// it returns may be anybody's invention: it is for showing only, and nothing may be done upon it. A relay
// reads with Hook.Read, after Hook.Prove.
//
// The payload is a request's body; of a provider that comes through a topic, what was published to it will do
// as well, and of Mandrill the list of events without its form. Where a part of it cannot be read, the error
// says so and the events are those of the rest.
func ReadUnproven(provider string, payload []byte) ([]feedback.Event, error) {
	p := readerOf(provider)
	if p == nil {
		return nil, fmt.Errorf("provider %q is not known; known are %s", provider,
			strings.Join(Providers(), ", "))
	}
	events, err := p.read(enveloped(provider, bytes.TrimSpace(payload)))
	for i := range events {
		events[i].Source, events[i].Provider = feedback.SourceWebhook, provider
		complete(&events[i])
	}
	return events, err
}

// readerOf is a provider that can read but prove nothing, nil if the name is not known.
func readerOf(name string) provider {
	switch name {
	case "azure":
		return &azure{}
	case "brevo":
		return &brevo{}
	case "mailersend":
		return &mailerSend{}
	case "mailgun":
		return &mailgun{}
	case "mailjet":
		return &mailjet{}
	case "mandrill":
		return &mandrill{}
	case "postmark":
		return &postmark{}
	case "resend":
		return &resend{}
	case "scaleway":
		return &scaleway{}
	case "sendgrid":
		return &sendGrid{}
	case "ses":
		return &ses{}
	case "smtp2go":
		return &smtp2go{}
	case "sparkpost":
		return &sparkPost{}
	}
	return nil
}

// enveloped is a payload as the provider's requests have it.
func enveloped(provider string, payload []byte) *feedback.Raw {
	raw := &feedback.Raw{Provider: provider, Body: payload}
	isJSON := len(payload) > 0 && (payload[0] == '{' || payload[0] == '[')
	switch provider {
	case "ses", "scaleway":
		if isJSON && !names(firstOf(payload), "TopicArn") {
			raw.Body, _ = json.Marshal(map[string]string{ // a map of strings can always be written
				"Type": "Notification", "TopicArn": "none", "Message": string(payload)})
		}
	case "mandrill":
		if isJSON {
			raw.Body = []byte(url.Values{"mandrill_events": {string(payload)}}.Encode())
		}
	case "smtp2go":
		if !isJSON {
			raw.Header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
		}
	}
	return raw
}

// Guess is the provider whose payload this looks like, by the names that only one of them uses; "" when it
// looks like none.
func Guess(payload []byte) string {
	payload = bytes.TrimSpace(payload)
	if len(payload) == 0 || payload[0] != '{' && payload[0] != '[' {
		return guessForm(payload)
	}
	first := firstOf(payload)
	is := func(name, prefix string) bool {
		var value text
		return json.Unmarshal(first[name], &value) == nil && strings.HasPrefix(value.string(), prefix) &&
			value != ""
	}
	for _, g := range [...]struct {
		provider string
		fits     bool
	}{
		{"ses", is("TopicArn", "arn:aws")},
		{"scaleway", is("TopicArn", "arn:scw:")},
		{"ses", names(first, "mail", "eventType") || names(first, "mail", "notificationType")},
		{"azure", is("eventType", "Microsoft.Communication.")},
		{"mailgun", names(first, "event-data")},
		{"postmark", names(first, "RecordType")},
		{"sparkpost", names(first, "msys")},
		{"mandrill", names(first, "event", "msg")},
		{"resend", is("type", "email.") && names(first, "data")},
		{"mailersend", is("type", "activity.") && names(first, "data")},
		{"scaleway", is("type", "email_") && names(first, "email_to")},
		{"sendgrid", names(first, "event", "sg_event_id") || names(first, "event", "sg_message_id")},
		{"smtp2go", names(first, "event", "rcpt")},
		{"brevo", names(first, "event", "ts_epoch") || names(first, "event", "message-id")},
		{"mailjet", names(first, "event", "MessageID") || names(first, "event", "mj_campaign_id")},
	} {
		if g.fits {
			return g.provider
		}
	}
	return ""
}

// guessForm is Guess for a body that is a form.
func guessForm(payload []byte) string {
	form, err := url.ParseQuery(string(payload))
	switch {
	case err != nil:
	case form.Has("mandrill_events"):
		return "mandrill"
	case form.Has("event") && form.Has("rcpt"):
		return "smtp2go"
	}
	return ""
}

// firstOf is the object that a payload is, or the first one in its list.
func firstOf(payload []byte) map[string]json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(payload, &list) == nil && len(list) > 0 {
		payload = list[0]
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(payload, &object) != nil {
		return nil
	}
	return object
}

// names reports whether an object has all of these members.
func names(object map[string]json.RawMessage, members ...string) bool {
	for _, m := range members {
		if _, ok := object[m]; !ok {
			return false
		}
	}
	return true
}
