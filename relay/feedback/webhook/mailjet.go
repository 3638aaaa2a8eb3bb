package webhook

import (
	"encoding/json"

	"mailwhy/relay/feedback"
)

// mailjet is Mailjet. It signs nothing; basic auth stands in the URL that it is given. It takes only 200 for
// success, and quotes no reply but in "sent": its errors are a fixed list of words.
//
// https://dev.mailjet.com/email/guides/webhooks/
type mailjet struct{ unsigned }

func openMailjet(Source, Fetcher) (provider, error) { return &mailjet{}, nil }

// mailjetEvent is one event of a batch, or the only one of a request.
type mailjetEvent struct {
	Event          text
	Time           text
	Email          text
	MessageID      text
	GUID           text `json:"Message_GUID"`
	CustomID       text
	HardBounce     text `json:"hard_bounce"`
	ErrorRelatedTo text `json:"error_related_to"`
	Error          text
	Comment        text
	Reply          text `json:"smtp_reply"`
}

// read implements provider.
func (p *mailjet) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readMailjet)
}

func readMailjet(element json.RawMessage) ([]feedback.Event, error) {
	var s mailjetEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		Time: s.Time.time(), Recipient: s.Email.string(), Type: s.Event.string(),
		Class: s.ErrorRelatedTo.string(), Text: s.Error.string(),
	}
	switch {
	case s.Event == "blocked", s.Event == "bounce" && s.Error == "preblocked":
		e.Kind = feedback.KindDropped
	case s.Event == "bounce" && s.Error == "greylisted" && !s.HardBounce.yes():
		e.Kind = feedback.KindRetrying
	case s.Event == "bounce":
		e.Kind, e.Type = feedback.KindBounced, "soft_bounce"
		if s.HardBounce.yes() {
			e.Type = "hard_bounce"
		}
	case s.Event == "sent": // the recipient's server has it
		e.Kind, e.Reply = feedback.KindDelivered, s.Reply.string()
	case s.Event == "spam":
		e.Kind = feedback.KindComplained
	default:
		return nil, nil
	}
	tagged(&e, s.CustomID)
	identified(&e, s.MessageID, s.GUID)
	return []feedback.Event{e}, nil
}
