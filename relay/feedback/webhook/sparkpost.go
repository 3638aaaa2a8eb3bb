package webhook

import (
	"encoding/json"

	"mailwhy/relay/feedback"
)

// sparkPost is SparkPost, now Bird. It signs nothing; it sends basic auth or a bearer token along. It takes
// only 200 for success.
//
// https://developers.sparkpost.com/api/webhooks/
// https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
type sparkPost struct{ unsigned }

func openSparkPost(Source, Fetcher) (provider, error) { return &sparkPost{}, nil }

// sparkPostEvent is one event, without the two objects around it.
type sparkPostEvent struct {
	Type           text
	BounceClass    text `json:"bounce_class"`
	ErrorCode      text `json:"error_code"`
	Reason         text
	RawReason      text   `json:"raw_reason"` // the reason with the addresses in it
	Recipient      text   `json:"rcpt_to"`
	RawRecipient   text   `json:"raw_rcpt_to"` // as it was sent to, upper and lower case kept
	MessageID      text   `json:"message_id"`
	TransmissionID text   `json:"transmission_id"`
	EventID        text   `json:"event_id"`
	Meta           fields `json:"rcpt_meta"`
	Timestamp      text
}

// read implements provider. A batch whose "msys" is empty only tries the URL.
func (p *sparkPost) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, func(element json.RawMessage) ([]feedback.Event, error) {
		var outer struct {
			System struct {
				Message    *sparkPostEvent `json:"message_event"`
				Generation *sparkPostEvent `json:"gen_event"`
			} `json:"msys"`
		}
		if err := decode(element, &outer); err != nil {
			return nil, err
		}
		var events []feedback.Event
		for _, s := range []*sparkPostEvent{outer.System.Message, outer.System.Generation} {
			if s != nil && s.kind() != "" {
				events = append(events, s.event())
			}
		}
		return events, nil
	})
}

// event makes the event of a kind that concerns delivery.
func (s *sparkPostEvent) event() feedback.Event {
	e := feedback.Event{
		ID: s.EventID.string(), Kind: s.kind(), Time: s.Timestamp.time(),
		Recipient: s.RawRecipient.or(s.Recipient), Type: s.Type.string(), Class: s.BounceClass.string(),
	}
	if reason := s.RawReason.orText(s.Reason); reason != "" {
		said(&e, reason)
	}
	tagged(&e, s.Meta[tagName])
	identified(&e, s.MessageID, s.TransmissionID)
	return e
}

// kind is what the event means, "" if it does not concern delivery.
func (s *sparkPostEvent) kind() feedback.Kind {
	switch s.Type {
	case "bounce", "out_of_band":
		switch s.BounceClass {
		case "60", "80", "90", "100": // an automatic answer, a (un)subscription, a challenge: not bounces
			return ""
		}
		return feedback.KindBounced
	case "delay":
		return feedback.KindRetrying
	case "delivery":
		return feedback.KindDelivered
	case "spam_complaint":
		return feedback.KindComplained
	case "policy_rejection", "generation_rejection", "generation_failure":
		return feedback.KindDropped
	}
	return ""
}
