package events

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// mandrill is a form with a batch of one event. Metadata come from X-MC-Metadata.
func (s *Sender) mandrill(m *Mail, e *Event) ([]byte, error) {
	metadata := object{}
	_ = json.Unmarshal([]byte(m.value("X-MC-Metadata")), &metadata) // none, if it is not JSON
	message := object{"_id": newID(), "ts": e.Time.Unix(), "email": e.Recipient, "sender": m.From,
		"subject": m.value("Subject"), "metadata": metadata}
	event := object{"ts": e.Time.Unix(), "msg": message, "_id": message["_id"]}
	switch e.Kind {
	case Bounced:
		event["event"], message["diag"] = "soft_bounce", "smtp;"+e.line()
		message["bounce_description"] = "general"
		if e.hard() {
			event["event"], message["bounce_description"] = "hard_bounce", "bad_mailbox"
		}
		if e.about("2.2") {
			message["bounce_description"] = "mailbox_full"
		}
	case Retrying:
		event["event"] = "deferral"
		message["smtp_events"] = []object{{"ts": e.Time.Unix(), "type": "deferred", "diag": e.line()}}
	case Delivered:
		event["event"], message["diag"] = "delivered", e.line()
	case Dropped:
		event["event"], message["reject"] = "reject", object{"reason": "hard-bounce"}
	case Complained:
		event["event"] = "spam"
	}
	batch, err := json.Marshal([]object{event})
	return []byte(url.Values{"mandrill_events": {string(batch)}}.Encode()), err
}

// entered is the URL as it is entered there: a user and a password, or a parameter, stand in it.
func (s *Sender) entered() string {
	u, err := url.Parse(s.url)
	if err != nil || s.credential == "" || strings.Contains(s.credential, ": ") {
		return s.url
	}
	if rest, ok := strings.CutPrefix(s.credential, "?"); ok {
		name, value, _ := strings.Cut(rest, "=")
		u.RawQuery = url.Values{name: {value}}.Encode()
	} else {
		user, password, _ := strings.Cut(s.credential, ":")
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// signMandrill signs the URL as it was entered there, and the form.
func (s *Sender) signMandrill(r *http.Request, body []byte, _ time.Time) error {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	signature := mac(sha1.New, s.key, s.entered()+"mandrill_events"+form.Get("mandrill_events"))
	r.Header.Set("X-Mandrill-Signature", base64.StdEncoding.EncodeToString(signature))
	return nil
}
