package webhook

import (
	"strings"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/sns"
)

// ses is Amazon SES. Its events come through SNS, by event publishing ("eventType") or as notifications of an
// identity ("notificationType"); with both on, each event comes twice under different ids.
//
// https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
// https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
type ses struct{ topic }

func openSES(s Source, f Fetcher) (provider, error) {
	t, err := openTopic(sns.Amazon(), s, f)
	return &ses{t}, err
}

// sesEvent is what SES publishes.
type sesEvent struct {
	EventType        text
	NotificationType text
	Mail             struct {
		MessageID     text `json:"messageId"`
		Destination   []string
		Headers       []struct{ Name, Value text }
		CommonHeaders struct {
			MessageID text `json:"messageId"`
		}
		Tags map[string][]text
	}
	Bounce struct {
		BounceType, BounceSubType, Timestamp text
		RemoteMTA                            text `json:"remoteMtaIp"`
		BouncedRecipients                    []sesRecipient
	}
	DeliveryDelay struct {
		DelayType, Timestamp text
		DelayedRecipients    []sesRecipient
	}
	Complaint struct {
		ComplaintFeedbackType, ComplaintSubType, Timestamp text
		ComplainedRecipients                               []sesRecipient
	}
	Delivery struct {
		Timestamp, SMTPResponse text
		RemoteMTA               text `json:"remoteMtaIp"`
		Recipients              []string
	}
	Reject struct{ Reason text }
}

// sesRecipient is one recipient in an event, with what its server said.
type sesRecipient struct {
	EmailAddress   string
	Status         text
	DiagnosticCode text
}

// read implements provider.
func (p *ses) read(raw *feedback.Raw) ([]feedback.Event, error) {
	m, err := p.published(raw)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimSpace(m.Message), "{") {
		return nil, nil // the one plain text that SES publishes when it is allowed to
	}
	var e sesEvent
	if err := decode([]byte(m.Message), &e); err != nil {
		return nil, err
	}
	base := feedback.Event{ID: m.MessageID, Time: m.Published(), Raw: []byte(m.Message)}
	e.keys(&base)
	return e.events(base), nil
}

// keys adds what the message can be found by. SES returns the header as it got it, our Received field too.
func (e *sesEvent) keys(to *feedback.Event) {
	for _, tag := range e.Mail.Tags[tagName] {
		tagged(to, tag)
	}
	for _, h := range e.Mail.Headers {
		if strings.EqualFold(string(h.Name), "Received") {
			received(to, string(h.Value))
		}
	}
	identified(to, e.Mail.MessageID)
	named(to, e.Mail.CommonHeaders.MessageID)
}

// events makes the events of the kinds that concern delivery.
func (e *sesEvent) events(base feedback.Event) []feedback.Event {
	kind := e.EventType
	if kind == "" {
		kind = e.NotificationType
	}
	switch kind {
	case "Bounce":
		return e.bounces(base)
	case "DeliveryDelay":
		base.Kind = feedback.KindRetrying
		base.Type, base.Class = kind.string(), e.DeliveryDelay.DelayType.string()
		base.Time = e.DeliveryDelay.Timestamp.timeOr(base.Time)
		return sesSpread(base, e.DeliveryDelay.DelayedRecipients)
	case "Complaint":
		// Where the complaint does not say who complains, SES lists all who may have.
		base.Kind, base.Shared = feedback.KindComplained, len(e.Complaint.ComplainedRecipients) > 1
		base.Type, base.Class = kind.string(), e.Complaint.ComplaintFeedbackType.string()
		base.Time = e.Complaint.Timestamp.timeOr(base.Time)
		return sesSpread(base, e.Complaint.ComplainedRecipients)
	case "Delivery":
		base.Kind, base.Type, base.Host = feedback.KindDelivered, kind.string(), e.Delivery.RemoteMTA.string()
		base.Time = e.Delivery.Timestamp.timeOr(base.Time)
		said(&base, e.Delivery.SMTPResponse)
		return spread(base, e.Delivery.Recipients)
	case "Reject":
		base.Kind, base.Type, base.Text = feedback.KindDropped, kind.string(), e.Reject.Reason.string()
		return spread(base, e.Mail.Destination)
	}
	return nil
}

// bounces makes the events of a bounce. The two subtypes are SES's own lists: it did not try.
func (e *sesEvent) bounces(base feedback.Event) []feedback.Event {
	base.Kind = feedback.KindBounced
	if sub := e.Bounce.BounceSubType; sub == "Suppressed" || sub == "OnAccountSuppressionList" {
		base.Kind = feedback.KindDropped
	}
	base.Type, base.Class = e.Bounce.BounceType.string(), e.Bounce.BounceSubType.string()
	base.Host = e.Bounce.RemoteMTA.string()
	base.Time = e.Bounce.Timestamp.timeOr(base.Time)
	return sesSpread(base, e.Bounce.BouncedRecipients)
}

// sesSpread makes one event for each recipient, with what was said about it.
func sesSpread(base feedback.Event, recipients []sesRecipient) []feedback.Event {
	addresses := make([]string, len(recipients))
	for i, r := range recipients {
		addresses[i] = r.EmailAddress
	}
	events := spread(base, addresses)
	for i, r := range recipients {
		events[i].Status = r.Status.string()
		said(&events[i], r.DiagnosticCode)
	}
	return events
}
