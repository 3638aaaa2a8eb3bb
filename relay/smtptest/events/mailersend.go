package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

// mailerSend is one event, with a few words for a reason. It tells of no deferral and of nothing that it did
// not try. Its ids are its own.
func (s *Sender) mailerSend(_ *Mail, e *Event) ([]byte, error) {
	kind := ""
	switch {
	case e.Kind == Bounced && e.hard():
		kind = "hard_bounced"
	case e.Kind == Bounced:
		kind = "soft_bounced"
	case e.Kind == Delivered:
		kind = "delivered"
	case e.Kind == Complained:
		kind = "spam_complaint"
	default:
		return nil, ErrUntold
	}
	data := object{
		"object": "activity", "id": newID(), "type": kind, "created_at": stamp(e.Time),
		"email": object{"id": newID(), "message": object{"id": newID()},
			"recipient": object{"email": e.Recipient}},
	}
	switch e.Kind {
	case Bounced:
		data["morph"] = object{"object": "recipient_bounce", "reason": "Unknown reason"}
	case Complained:
		data["morph"] = object{"object": "spam_complaint", "reason": nil}
	}
	return json.Marshal(object{"type": "activity." + kind, "created_at": stamp(e.Time), "data": data})
}

// signMailerSend signs the body.
func (s *Sender) signMailerSend(r *http.Request, body []byte, _ time.Time) error {
	r.Header.Set("Signature", hex.EncodeToString(mac(sha256.New, s.key, string(body))))
	return nil
}
