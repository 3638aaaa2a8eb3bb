package events

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// sendGrid is a batch of one event. Unique arguments of X-SMTPAPI stand beside the fields. Whether
// sg_message_id begins with the id of the 250 is not known for mail by SMTP.
func (s *Sender) sendGrid(m *Mail, e *Event) ([]byte, error) {
	event := object{}
	var api struct {
		Arguments object `json:"unique_args"`
	}
	if json.Unmarshal([]byte(m.value("X-SMTPAPI")), &api) == nil {
		for name, value := range api.Arguments {
			event[name] = value
		}
	}
	event["email"], event["timestamp"], event["smtp-id"] = e.Recipient, e.Time.Unix(), m.messageID()
	event["sg_event_id"], event["sg_message_id"] = newID(), newID()+".recvd-practice-1.0"
	switch e.Kind {
	case Bounced:
		event["event"], event["type"], event["reason"] = "bounce", "blocked", e.line()
		if e.hard() {
			event["type"] = "bounce"
		}
		event["status"] = e.status()
	case Retrying:
		event["event"], event["response"], event["attempt"] = "deferred", e.line(), "1"
	case Delivered:
		event["event"], event["response"] = "delivered", e.line()
	case Dropped:
		event["event"], event["reason"] = "dropped", "Bounced Address"
	case Complained:
		event["event"] = "spamreport"
	}
	return json.Marshal([]object{event})
}

// signSendGrid signs time and body with ECDSA.
func (s *Sender) signSendGrid(r *http.Request, body []byte, now time.Time) error {
	key, _, err := ecdsaKey(s.key)
	if err != nil {
		return err
	}
	seconds := strconv.FormatInt(now.Unix(), 10)
	signature, err := signECDSA(key, seconds+string(body))
	r.Header.Set("X-Twilio-Email-Event-Webhook-Timestamp", seconds)
	r.Header.Set("X-Twilio-Email-Event-Webhook-Signature", signature)
	return err
}
