package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// mailgun is an event with its signature, which is over a time and a token only.
func (s *Sender) mailgun(m *Mail, e *Event) ([]byte, error) {
	variables := object{}
	_ = json.Unmarshal([]byte(m.value("X-Mailgun-Variables")), &variables) // none, if it is not JSON
	status := object{"mx-host": e.Host, "attempt-no": 1}
	if code, err := strconv.Atoi(e.code()); err == nil {
		status["code"], status["message"] = code, e.text()
	}
	event := object{
		"id": newID(), "timestamp": float64(e.Time.UnixMilli()) / 1000, "recipient": e.Recipient,
		"message":        object{"headers": object{"message-id": m.bareID()}},
		"user-variables": variables, "delivery-status": status,
	}
	switch e.Kind {
	case Bounced:
		event["event"], event["severity"], event["reason"] = "failed", "permanent", "generic"
		if e.hard() {
			event["reason"] = "bounce"
		}
	case Retrying:
		event["event"], event["severity"], event["reason"] = "failed", "temporary", "generic"
		status["retry-seconds"] = 600
	case Delivered:
		event["event"] = "delivered"
	case Dropped:
		event["event"], event["severity"], event["reason"] = "failed", "permanent", "suppress-bounce"
		status["code"], status["description"] = 605, "Not delivering to previously bounced address"
	case Complained:
		event["event"] = "complained"
		delete(event, "delivery-status")
	}
	seconds, token := strconv.FormatInt(e.Time.Unix(), 10), newID()
	return json.Marshal(object{"event-data": event, "signature": object{
		"timestamp": seconds, "token": token,
		"signature": hex.EncodeToString(mac(sha256.New, s.key, seconds+token)),
	}})
}
