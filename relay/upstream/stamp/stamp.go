// Package stamp makes what is added to a message at the attempt, so that what becomes of it later can be tied
// to it: a return path of ours, an envelope id, and the header field that the provider returns with its
// events. The stored content never has any of it, and neither does a later attempt at another upstream.
//
// What always holds: what the application gave stays. Its ENVID is passed on, a field of the same name that
// it set keeps its own value, and the null sender stays null (RFC 5321, 4.5.5). A report of our own gets
// nothing: nobody reports on reports. What is added says the queue id and no more, which every recipient
// sees in our Received field anyhow.
//
// The upstream side asks for a Stamp for each transaction; relay/app makes a Maker for each upstream.
package stamp

import (
	"mailwhy/relay"
	"mailwhy/relay/internal/returnpath"
)

// Stamp is what is added to one transaction. The zero Stamp adds nothing.
type Stamp struct {
	From  string // reverse-path in place of the transaction's; "" keeps that
	EnvID string // ENVID (RFC 3461, 4.4), if the server offers DSN; "" keeps that of the message
	Field Field  // in front of the content
}

// Maker makes the stamps for one upstream. The zero Maker adds nothing. It never changes once it is in use,
// and is safe for concurrent use.
type Maker struct {
	// Paths are the return paths to use; nil: that of the envelope is kept.
	Paths *returnpath.Paths
	// PerRecipient makes a return path for each recipient. The upstream must then get one recipient a
	// transaction: a transaction with several gets the message's.
	PerRecipient bool
	// EnvID gives the queue id as envelope id where the application gave none. RFC 3461, 5.2.1 has that for
	// relays left out; as the first one behind the application we submit the message (RFC 6409).
	EnvID bool
	// Provider is whose header field is added, see Tag; "": none.
	Provider string
}

// Stamp makes what is added to a transaction for those of its message's recipients whose indexes are to.
func (k *Maker) Stamp(t *relay.Transaction, to []int) (s Stamp) {
	m := t.Message
	if m.Report || !relay.ValidID(m.ID) {
		return s
	}
	if k.Paths != nil && t.From != "" {
		if k.PerRecipient && len(to) == 1 {
			s.From = k.Paths.AddressFor(m.ID, m.Recipients[to[0]].Address)
		} else {
			s.From = k.Paths.Address(m.ID)
		}
	}
	if k.EnvID && m.Envelope.EnvID == "" {
		s.EnvID = m.ID
	}
	if tag, known := TagOf(k.Provider, m.ID); known {
		s.Field = tag.Field
	}
	return s
}

// Field is a header field. The zero Field is none.
type Field struct{ Name, Value string }

// line is the field as it stands in a header.
func (f Field) line() string { return f.Name + ": " + f.Value + "\r\n" }

// Size is how many bytes the field adds to a content at most.
func (f Field) Size() int64 {
	if f.Name == "" {
		return 0
	}
	return int64(len(f.line()))
}

// Tag is the header field that makes a provider return our queue id with its events.
type Tag struct {
	Field
	// Hidden reports that the provider documents that it takes the field out before it delivers the mail.
	Hidden bool
}

// TagOf is the tag for a provider, by the name of its preset; known is false if it has none. SES returns our
// Received field with its events; what Mailgun, Brevo and SMTP2GO return is delivered, so they have none.
//
// Hidden: SendGrid (SMTP API reference: instruction headers are stripped from the final email), Postmark
// (custom metadata FAQ: recipients do not see it). The others do not say.
func TagOf(provider, id string) (t Tag, known bool) {
	switch provider {
	case "sendgrid":
		return Tag{Field{"X-SMTPAPI", `{"unique_args":{"mw":"` + id + `"}}`}, true}, true
	case "postmark":
		return Tag{Field{"X-PM-Metadata-mw", id}, true}, true
	case "sparkpost":
		return Tag{Field{"X-MSYS-API", `{"metadata":{"mw":"` + id + `"}}`}, false}, true
	case "mailjet":
		return Tag{Field{"X-MJ-CustomID", id}, false}, true
	case "mandrill":
		return Tag{Field{"X-MC-Metadata", `{"mw":"` + id + `"}`}, false}, true
	}
	return Tag{}, false
}

// Hides reports whether a provider has a tag of which its documentation says that no recipient sees it: one
// that may be added without asking.
func Hides(provider string) bool {
	t, _ := TagOf(provider, "")
	return t.Hidden
}
