package webhook

import (
	"context"
	"encoding/json"
	"errors"

	"mailwhy/relay/feedback"
)

// azure is Email of Azure Communication Services, whose events come from Event Grid. It signs nothing; a
// secret stands in the URL that it is given, or in a field that it is told to send along. Before the first
// event it sends a code, which it wants back.
//
// https://learn.microsoft.com/azure/event-grid/communication-services-email-events
// https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
// https://learn.microsoft.com/azure/event-grid/delivery-and-retry
type azure struct{ unsigned }

func openAzure(Source, Fetcher) (provider, error) { return &azure{}, nil }

// greets implements greeter.
func (p *azure) greets(r *Request) bool {
	return r.Header.Get("Aeg-Event-Type") == "SubscriptionValidation"
}

// greet returns the code of a subscription that is being set up.
func (p *azure) greet(_ context.Context, r *Request) ([]byte, error) {
	var events []struct {
		Data struct{ ValidationCode string }
	}
	if err := decode(r.Body, &events); err != nil {
		return nil, err
	}
	if len(events) != 1 || events[0].Data.ValidationCode == "" {
		return nil, errors.New("the subscription's request has no code")
	}
	return json.Marshal(map[string]string{"validationResponse": events[0].Data.ValidationCode})
}

// azureEvent is one event of a batch.
type azureEvent struct {
	ID        text
	EventType text
	EventTime text
	Data      struct {
		Recipient         text
		MessageID         text
		InternetMessageID text
		Status            text
		Time              text `json:"deliveryAttemptTimeStamp"`
		Details           struct {
			StatusMessage text
			MailServer    text `json:"recipientMailServerHostName"`
		} `json:"deliveryStatusDetails"`
	}
}

// read implements provider.
func (p *azure) read(raw *feedback.Raw) ([]feedback.Event, error) {
	return batch(raw.Body, readAzure)
}

func readAzure(element json.RawMessage) ([]feedback.Event, error) {
	var s azureEvent
	if err := decode(element, &s); err != nil {
		return nil, err
	}
	if s.EventType != "Microsoft.Communication.EmailDeliveryReportReceived" {
		return nil, nil
	}
	d := s.Data
	e := feedback.Event{
		ID: s.ID.string(), Time: d.Time.timeOr(s.EventTime.time()), Recipient: d.Recipient.string(),
		Type: d.Status.string(), Host: d.Details.MailServer.string(),
	}
	switch d.Status {
	case "Delivered":
		e.Kind = feedback.KindDelivered
	case "Suppressed":
		e.Kind = feedback.KindDropped
	case "Expanded": // to the members of a list: each has its own event
		return nil, nil
	default: // Bounced, Failed, FilteredSpam, Quarantined: all but Delivered is a failure
		e.Kind = feedback.KindBounced
	}
	if d.Details.StatusMessage != "" {
		said(&e, d.Details.StatusMessage)
	}
	identified(&e, d.MessageID)
	named(&e, d.InternetMessageID)
	return []feedback.Event{e}, nil
}
