package events

import "encoding/json"

// smtp2go is one event, of a webhook that is set up to tell the Message-ID. It tells of no deferral. Whether
// email_id is the id of the 250 is not known.
func (s *Sender) smtp2go(m *Mail, e *Event) ([]byte, error) {
	event := object{
		"rcpt": e.Recipient, "sender": m.From, "time": e.Time.UTC().Format("2006-01-02T15:04:05Z"),
		"email_id": newID(), "Message-ID": m.messageID(), "id": newID(),
	}
	if e.Reply != "" {
		event["message"], event["host"] = e.line(), e.Host
	}
	switch e.Kind {
	case Bounced:
		event["event"], event["bounce"] = "bounce", "soft"
		if e.hard() {
			event["bounce"] = "hard"
		}
	case Delivered:
		event["event"] = "delivered"
	case Dropped:
		event["event"], event["message"] = "reject", "recipient is on the suppression list"
	case Complained:
		event["event"] = "spam"
	default:
		return nil, ErrUntold
	}
	return json.Marshal(event)
}
