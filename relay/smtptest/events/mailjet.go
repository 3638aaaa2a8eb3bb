package events

import "encoding/json"

// mailjet is one event. It quotes no reply but that of success; its errors are a fixed list. Whether an id is
// the one of the 250 is not known.
func (s *Sender) mailjet(m *Mail, e *Event) ([]byte, error) {
	event := object{
		"time": e.Time.Unix(), "email": e.Recipient, "CustomID": m.value("X-MJ-CustomID"),
		"MessageID": e.Time.UnixNano(), "Message_GUID": newUUID(),
	}
	switch e.Kind {
	case Bounced:
		related, why := mailjetError(e)
		event["event"], event["error_related_to"], event["error"] = "bounce", related, why
		event["hard_bounce"], event["blocked"] = e.hard(), e.hard()
	case Retrying:
		event["event"], event["error_related_to"], event["error"] = "bounce", "domain", "greylisted"
		event["hard_bounce"], event["blocked"] = false, false
	case Delivered:
		event["event"], event["smtp_reply"] = "sent", "sent ("+e.line()+")"
	case Dropped:
		event["event"], event["error_related_to"], event["error"] = "blocked", "mailjet", "preblocked"
	case Complained:
		event["event"], event["source"] = "spam", "JMRPP"
	}
	return json.Marshal(event)
}

// mailjetError is one of the documented errors.
func mailjetError(e *Event) (related, why string) {
	switch {
	case e.about("1.1"):
		return "recipient", "user unknown"
	case e.about("2.1"):
		return "recipient", "mailbox inactive"
	case e.about("2.2"):
		return "recipient", "quota exceeded"
	case e.about("1.2"):
		return "domain", "invalid domain"
	case e.about("7.1"):
		return "spam", "policy issue"
	}
	return "system", "protocol issue"
}
