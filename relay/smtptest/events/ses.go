package events

import "strings"

const (
	sesTopic       = "arn:aws:sns:eu-west-1:123456789012:practice"
	sesCertificate = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-practice.pem"
)

// ses is what SES publishes, with event publishing. It returns the header as it got it.
func (s *Sender) ses(m *Mail, e *Event) ([]byte, error) {
	headers := []object{}
	for _, f := range m.fields() {
		headers = append(headers, object{"name": f.Name, "value": f.Value})
	}
	mail := object{
		"timestamp": stamp(e.Time), "messageId": m.ID, "source": m.From, "destination": m.To,
		"headersTruncated": false, "headers": headers, "commonHeaders": object{"messageId": m.messageID()},
		"tags": sesTags(m),
	}
	published := object{"mail": mail}
	recipient := object{"emailAddress": e.Recipient}
	if e.Reply != "" {
		recipient["status"], recipient["diagnosticCode"] = e.status(), "smtp; "+e.line()
	}
	switch e.Kind {
	case Bounced:
		published["eventType"] = "Bounce"
		recipient["action"] = "failed"
		published["bounce"] = sesBounce(e, recipient)
	case Dropped:
		published["eventType"] = "Bounce"
		recipient["action"], recipient["status"] = "failed", "5.1.1"
		recipient["diagnosticCode"] = "Amazon SES did not send the message to this address because it is " +
			"on the suppression list for your account."
		published["bounce"] = object{"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList",
			"timestamp": stamp(e.Time), "feedbackId": newID(), "bouncedRecipients": []object{recipient}}
	case Retrying:
		published["eventType"] = "DeliveryDelay"
		published["deliveryDelay"] = object{"timestamp": stamp(e.Time), "delayType": sesDelay(e),
			"delayedRecipients": []object{recipient}}
	case Complained:
		published["eventType"] = "Complaint"
		published["complaint"] = object{"timestamp": stamp(e.Time), "feedbackId": newID(),
			"complaintFeedbackType": "abuse", "complainedRecipients": []object{recipient}}
	case Delivered:
		published["eventType"] = "Delivery"
		published["delivery"] = object{"timestamp": stamp(e.Time), "recipients": []string{e.Recipient},
			"smtpResponse": e.line(), "remoteMtaIp": "192.0.2.25"}
	}
	return s.signer.notification(s.topic, sesCertificate, published, e.Time)
}

// sesBounce is the part of a bounce.
func sesBounce(e *Event, recipient object) object {
	kind, sub := "Transient", "General"
	switch {
	case e.about("2.2"):
		sub = "MailboxFull"
	case e.about("3.4"):
		sub = "MessageTooLarge"
	}
	if e.hard() && sub == "General" {
		kind = "Permanent"
	}
	return object{"bounceType": kind, "bounceSubType": sub, "timestamp": stamp(e.Time),
		"feedbackId": newID(), "remoteMtaIp": "192.0.2.25", "bouncedRecipients": []object{recipient}}
}

// sesDelay is why SES still tries.
func sesDelay(e *Event) string {
	if e.about("2.2") {
		return "MailboxFull"
	}
	return "TransientCommunicationFailure"
}

// sesTags are those that the application gave; they need a configuration set.
func sesTags(m *Mail) object {
	set := m.value("X-SES-CONFIGURATION-SET")
	if set == "" {
		return object{}
	}
	tags := object{"ses:configuration-set": []string{set}}
	for pair := range strings.SplitSeq(m.value("X-SES-MESSAGE-TAGS"), ",") {
		if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
			tags[name] = []string{value}
		}
	}
	return tags
}
