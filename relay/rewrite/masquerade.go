package rewrite

import (
	"bytes"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/address/list"
)

// masked is an address in which the first of some domains to which it belongs stands for the subdomain that
// it has: host.example.com becomes example.com. A domain after "!" leaves its own addresses as they are.
func masked(masks []string, addr string) string {
	at := strings.LastIndexByte(addr, '@')
	domain := strings.ToLower(addr[at+1:])
	for _, mask := range masks {
		name, keep := strings.CutPrefix(strings.ToLower(mask), "!")
		switch {
		case domain != name && !strings.HasSuffix(domain, "."+name):
			continue
		case at < 0 || keep || domain == name:
			return addr
		}
		return addr[:at+1] + name
	}
	return addr
}

// maskSender gives a plan the envelope sender without its subdomain, unless a rule before set one.
func (p *plan) maskSender(m *relay.Message, masks []string) {
	if from := m.Envelope.From; p.sender == "" && masked(masks, from) != from {
		p.sender = masked(masks, from)
	}
	p.edit.masks = append(p.edit.masks, masks...)
}

// maskDomain gives a transaction the domain that From will have.
func (e *edit) maskDomain(t *relay.Transaction) {
	if was := t.FromDomain(); was != "" {
		t.HeaderFrom = address.Domain(masked(e.masks, "x@"+was))
	}
}

// applyMasks cuts the subdomains off the addresses of those who wrote the mail and those it goes to. Every
// byte around the addresses stays.
func (e *edit) applyMasks(h *header) {
	for i := range h.fields {
		f := &h.fields[i]
		switch f.name {
		case "from", "sender", "reply-to", "to", "cc",
			"resent-from", "resent-sender", "resent-to", "resent-cc":
			if raw := maskField(e.masks, f.raw); !bytes.Equal(raw, f.raw) {
				f.raw, h.changed[f.name] = raw, true
				h.note(f.name + " rewritten")
			}
		}
	}
}

// maskField is a field with its addresses masked.
func maskField(masks []string, raw []byte) []byte {
	value := raw[bytes.IndexByte(raw, ':')+1:]
	out, done := raw[:len(raw)-len(value):len(raw)-len(value)], 0
	for _, box := range list.Mailboxes(value) {
		out = append(out, value[done:box.Spec.From]...)
		out = append(out, masked(masks, string(value[box.Spec.From:box.Spec.To]))...)
		done = box.Spec.To
	}
	return append(out, value[done:]...)
}
