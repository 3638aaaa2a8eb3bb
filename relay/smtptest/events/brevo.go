package events

import "encoding/json"

// brevo is one event, without an id. Its message-id has the form of the id in the 250.
func (s *Sender) brevo(m *Mail, e *Event) ([]byte, error) {
	event := object{
		"email": e.Recipient, "message-id": "<" + m.ID + ">", "ts_epoch": e.Time.UnixMilli(),
		"subject": m.value("Subject"),
	}
	if e.Reply != "" {
		event["reason"] = e.line()
	}
	switch e.Kind {
	case Bounced:
		event["event"] = "soft_bounce"
		if e.hard() {
			event["event"] = "hard_bounce"
		}
	case Retrying:
		event["event"] = "deferred"
	case Delivered:
		event["event"] = "delivered"
	case Dropped:
		event["event"], event["reason"] = "blocked", "blocked : due to blacklist user"
	case Complained:
		event["event"] = "spam"
	}
	return json.Marshal(event)
}
