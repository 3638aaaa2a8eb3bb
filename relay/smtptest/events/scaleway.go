package events

import "strconv"

const (
	scalewayTopic       = "arn:scw:sns:fr-par:project-practice:mail"
	scalewayCertificate = "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/practice.pem"
)

// scaleway is what Scaleway publishes. It tells all fields of the header, and nothing of complaints.
func (s *Sender) scaleway(m *Mail, e *Event) ([]byte, error) {
	headers := []object{}
	for _, f := range m.fields() {
		headers = append(headers, object{"key": f.Name, "value": f.Value})
	}
	event := object{
		"id": newUUID(), "created_at": stamp(e.Time), "email_id": newUUID(), "email_from": m.From,
		"email_to": e.Recipient, "email_headers": headers,
	}
	if code, err := strconv.Atoi(e.code()); err == nil {
		event["email_response_code"], event["email_response_message"] = code, e.text()
	}
	switch e.Kind {
	case Bounced:
		event["type"] = "email_dropped"
		if e.hard() && e.about("1.1") {
			event["type"] = "email_mailbox_not_found"
		}
	case Retrying:
		event["type"] = "email_deferred"
	case Delivered:
		event["type"] = "email_delivered"
	case Dropped:
		event["type"], event["blocklist_type"] = "email_blocklisted", "mailbox_not_found"
		event["blocklist_reason"] = "too many mailbox not found replies"
	default:
		return nil, ErrUntold
	}
	return s.signer.notification(s.topic, scalewayCertificate, event, e.Time)
}
