package webhook

import (
	"encoding/json"
	"strings"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/sns"
)

// scaleway is Scaleway's Transactional Email. Its events come through Topics and Events, which speaks the
// protocol of SNS.
//
// https://www.scaleway.com/en/docs/transactional-email/reference-content/webhook-events-payloads
// https://www.scaleway.com/en/docs/topics-and-events/reference-content/veriying-webhooks
type scaleway struct{ topic }

func openScaleway(s Source, f Fetcher) (provider, error) {
	t, err := openTopic(sns.Scaleway(), s, f)
	return &scaleway{t}, err
}

// scalewayEvent is one event.
type scalewayEvent struct {
	ID              text
	Type            text
	CreatedAt       text                        `json:"created_at"`
	EmailID         text                        `json:"email_id"`
	To              text                        `json:"email_to"`
	Headers         []struct{ Key, Value text } `json:"email_headers"`
	ResponseCode    text                        `json:"email_response_code"`
	ResponseMessage text                        `json:"email_response_message"`
	BlocklistType   text                        `json:"blocklist_type"`
	BlocklistReason text                        `json:"blocklist_reason"`
}

// read implements provider.
func (p *scaleway) read(raw *feedback.Raw) ([]feedback.Event, error) {
	m, err := p.published(raw)
	if err != nil {
		return nil, err
	}
	return batch([]byte(m.Message), readScaleway)
}

func readScaleway(element json.RawMessage) ([]feedback.Event, error) {
	var s scalewayEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	e := feedback.Event{
		ID: s.ID.string(), Time: s.CreatedAt.time(), Recipient: s.To.string(), Type: s.Type.string(),
		Class: s.BlocklistType.string(),
	}
	switch s.Type {
	case "email_dropped", "email_mailbox_not_found", "email_spam": // refused as spam, or held to be it
		e.Kind = feedback.KindBounced
	case "email_deferred":
		e.Kind = feedback.KindRetrying
	case "email_delivered":
		e.Kind = feedback.KindDelivered
	case "email_blocklisted":
		e.Kind, e.Text = feedback.KindDropped, s.BlocklistReason.string()
	default:
		return nil, nil
	}
	if code := s.ResponseCode.code(); code >= 200 && code < 600 {
		e.Reply = assembled(code, s.ResponseMessage)
	} else if s.ResponseMessage != "" {
		said(&e, s.ResponseMessage)
	}
	messageID := text("")
	for _, h := range s.Headers {
		switch strings.ToLower(h.Key.string()) {
		case "received":
			received(&e, h.Value.string())
		case "message-id":
			messageID = h.Value
		}
	}
	identified(&e, s.EmailID)
	named(&e, messageID)
	return []feedback.Event{e}, nil
}
