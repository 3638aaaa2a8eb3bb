package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// resend is one event. It quotes no reply, and lists all recipients. The id in its 250 is its email_id.
func (s *Sender) resend(m *Mail, e *Event) ([]byte, error) {
	data := object{"email_id": m.ID, "message_id": m.messageID(), "to": m.To, "from": m.From,
		"subject": m.value("Subject")}
	event := object{"created_at": stamp(e.Time), "data": data}
	switch e.Kind {
	case Bounced:
		event["type"] = "email.bounced"
		cause := object{"type": "Transient", "subType": "General",
			"message": "The recipient's mail server sent a temporary bounce."}
		if e.about("2.2") {
			cause["subType"] = "MailboxFull"
		} else if e.hard() {
			cause["type"] = "Permanent"
			cause["message"] = "The recipient's mail server rejected the message for good."
		}
		data["bounce"] = cause
	case Retrying:
		event["type"] = "email.delivery_delayed"
	case Delivered:
		event["type"] = "email.delivered"
	case Dropped:
		event["type"] = "email.suppressed"
		data["suppressed"] = object{"type": "OnAccountSuppressionList",
			"message": "The address is on the suppression list."}
	case Complained:
		event["type"] = "email.complained"
	}
	return json.Marshal(event)
}

// signResend signs by Standard Webhooks, in the fields of Svix. The id stays the same when it is sent again.
func (s *Sender) signResend(r *http.Request, body []byte, now time.Time) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.key, "whsec_"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	id := "msg_" + base64.RawURLEncoding.EncodeToString(sum[:12])
	seconds := strconv.FormatInt(now.Unix(), 10)
	signature := mac(sha256.New, string(key), id+"."+seconds+"."+string(body))
	r.Header.Set("Svix-Id", id)
	r.Header.Set("Svix-Timestamp", seconds)
	r.Header.Set("Svix-Signature", "v1,"+base64.StdEncoding.EncodeToString(signature))
	return nil
}
