package events

import (
	"encoding/json"
	"strconv"
)

// sparkPost is a batch of one event. Metadata come from X-MSYS-API. Whether an id is the one of the 250 is
// not known.
func (s *Sender) sparkPost(m *Mail, e *Event) ([]byte, error) {
	var api struct {
		Metadata object `json:"metadata"`
	}
	_ = json.Unmarshal([]byte(m.value("X-MSYS-API")), &api) // none, if it is not JSON
	event := object{
		"event_id": newID(), "message_id": newID(), "transmission_id": newID(),
		"timestamp": strconv.FormatInt(e.Time.Unix(), 10), "rcpt_to": e.Recipient,
		"raw_rcpt_to": e.Recipient, "rcpt_meta": api.Metadata, "msg_from": m.From,
	}
	if e.Reply != "" {
		event["error_code"], event["reason"], event["raw_reason"] = e.code(), e.line(), e.line()
	}
	name := "message_event"
	switch e.Kind {
	case Bounced:
		event["type"], event["bounce_class"] = "bounce", sparkPostClass(e)
	case Retrying:
		event["type"], event["bounce_class"] = "delay", sparkPostClass(e)
	case Delivered:
		event["type"] = "delivery"
	case Dropped:
		name = "gen_event"
		event["type"], event["bounce_class"] = "generation_rejection", "25"
		event["raw_reason"] = "recipient address suppressed due to system policy"
	case Complained:
		event["type"] = "spam_complaint"
	}
	return json.Marshal([]object{{"msys": object{name: event}}})
}

// sparkPostClass is the number of why.
func sparkPostClass(e *Event) string {
	switch {
	case e.about("1.1"):
		return "10" // invalid recipient
	case e.about("2.2"):
		return "22" // mailbox full
	case e.hard():
		return "30" // a bounce of no class of its own
	}
	return "20" // soft
}
