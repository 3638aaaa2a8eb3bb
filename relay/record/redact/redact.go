// Package redact takes people's addresses out of events before they are written: into the delivery log, to
// webhooks and into the history of the page. relay/app makes one Redactor and hands its Event to all of them,
// so that they agree.
//
// What always holds: what an event says of its kind, times, codes, diagnosis and ids is left as it is; no
// local part of an address is left in the other fields, in the upstream's own words either. What the relay
// itself needs, in the spool, the memory of feedback and the suppression list, is not touched:
// docs/privacy.md says what is there.
package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"mailwhy/relay/record"
)

// Mode is what is left of an address.
type Mode string

// The modes.
const (
	Full   Mode = "full"   // everything
	Domain Mode = "domain" // the domain: *@example.com
	Hash   Mode = "hash"   // a keyed hash in place of the local part, and the domain
)

// Redactor treats the addresses of events. It is safe for concurrent use; the nil Redactor leaves everything.
type Redactor struct {
	mode Mode
	key  []byte
}

// New makes a Redactor. The key is a secret of the relay: without it nobody can tell whose a hash is by
// trying addresses. With an empty key Hash is Domain.
func New(mode Mode, key []byte) *Redactor {
	if mode == Hash && len(key) == 0 {
		mode = Domain
	}
	return &Redactor{mode: mode, key: key}
}

// leaves reports whether everything is left as it is.
func (r *Redactor) leaves() bool { return r == nil || r.mode == Full || r.mode == "" }

// hashLen is how many characters of a hash stand in an address: 80 bits.
const hashLen = 16

// Address is what is written for an address. The same address, in whatever case, always gives the same; what
// is written for it already is left as it is. "" is left.
func (r *Redactor) Address(address string) string {
	domain := ""
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		domain = address[at:]
	}
	switch {
	case r.leaves(), address == "", r.done(address):
		return address
	case r.mode == Domain:
		return "*" + domain
	}
	return r.hashed(address)
}

// hashed is what Hash writes for an address.
func (r *Redactor) hashed(address string) string {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte("address\x00" + strings.ToLower(address)))
	sum := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil))
	domain := ""
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		domain = strings.ToLower(address[at:])
	}
	return "h-" + strings.ToLower(sum[:hashLen]) + domain
}

// done reports whether an address is one that was written here.
func (r *Redactor) done(address string) bool {
	if r.mode == Domain {
		return address == "*" || strings.HasPrefix(address, "*@")
	}
	local, _, _ := strings.Cut(address, "@")
	if len(local) != len("h-")+hashLen || !strings.HasPrefix(local, "h-") {
		return false
	}
	return strings.Trim(local[2:], "0123456789abcdefghijklmnopqrstuv") == ""
}

// Event treats all addresses of an event.
func (r *Redactor) Event(e *record.Event) {
	if r.leaves() {
		return
	}
	known := r.people(append([]string{e.From, e.To}, e.Given...))
	if s := e.Suppression; s != nil {
		known = append(known, r.people([]string{s.Address})...)
	}
	text := func(s string) string { return r.text(s, known) }
	treatment{address: r.Address, messageID: r.messageID, text: text}.event(e)
	e.ReplyBase64 = nil // it is made of Reply
}

// treatment is what is done to the texts of an event that can name people.
type treatment struct{ address, messageID, text func(string) string }

// event does it to all of them. What the event points at belongs to others, and is not changed.
func (t treatment) event(e *record.Event) {
	text := t.text
	e.From, e.To = t.address(e.From), t.address(e.To)
	e.Given = mapped(e.Given, t.address)
	e.MessageID, e.Client, e.User = t.messageID(e.MessageID), text(e.Client), text(e.User)
	e.Reply, e.ErrorText, e.Note, e.Route = text(e.Reply), text(e.ErrorText), text(e.Note), text(e.Route)
	e.EventID, e.UpstreamID = text(e.EventID), text(e.UpstreamID)
	if d := e.Diagnosis; d != nil {
		c := *d
		c.Cause, c.Domain = text(d.Cause), text(d.Domain)
		c.Fix, c.Evidence, c.Links = mapped(d.Fix, text), mapped(d.Evidence, text), mapped(d.Links, text)
		e.Diagnosis = &c
	}
	if s := e.Suppression; s != nil {
		c := *s
		c.Address, c.Reply, c.Note = t.address(s.Address), text(s.Reply), text(s.Note)
		e.Suppression = &c
	}
}

// messageID treats a Message-ID, whose left part may name its author. It joins lines like an address.
func (r *Redactor) messageID(id string) string {
	if id == "" {
		return ""
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
	return "<" + r.Address(bare) + ">"
}

// mapped is a list with each text treated. The list itself belongs to others, and is not changed.
func mapped(list []string, f func(string) string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = f(s)
	}
	return out
}
