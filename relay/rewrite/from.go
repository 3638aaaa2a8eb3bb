package rewrite

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"

	"mailwhy/relay/internal/address/list"
)

// applyFrom rewrites From. All fields of the name become one, in the place of the first, with what it was in
// X-Original-From and, unless there is a Reply-To, in that.
func (e *edit) applyFrom(h *header) {
	if e.noSender {
		e.removeSender(h)
	}
	if e.from.address == "" {
		return
	}
	var old [][]byte
	for i := range h.fields {
		if h.fields[i].name == "from" {
			old = append(old, bytes.Clone(h.fields[i].value()))
		}
	}
	if len(old) == 1 && e.from.name == "" && isAddress(old[0], e.from.address) {
		return
	}
	h.note("from rewritten")
	with := []field{{"from", e.newFrom(old)}}
	if len(old) > 0 && !h.has("reply-to") && e.replyTo.address == "" && answers(old[0], e.from.address) {
		with = append(with, rawField("Reply-To", old[0]))
		h.note("reply-to added")
	}
	for _, value := range old {
		with = append(with, rawField("X-Original-From", value))
	}
	h.replace("from", with...)
}

// newFrom is the new From field. The old name is kept byte for byte, unless the rule names another one, or
// the field would not be a mailbox with the new address and nothing else.
func (e *edit) newFrom(old [][]byte) []byte {
	value := []byte(" " + e.from.name + e.from.address)
	if e.from.name != "" {
		value = []byte(" " + e.from.name + "<" + e.from.address + ">")
	} else if len(old) > 0 {
		if kept := renamed(old[0], e.from.address); isAddress(kept, e.from.address) &&
			lineLength(kept) <= maxLine-len("From:") {
			value = kept
		}
	}
	return append(append([]byte("From:"), value...), "\r\n"...)
}

// renamed is the first mailbox in an address field with another address.
func renamed(value []byte, to string) []byte {
	boxes := list.Mailboxes(value)
	if len(boxes) == 0 {
		return nil
	}
	box := boxes[0]
	before, after := value[box.Whole.From:box.Spec.From], value[box.Spec.To:box.Whole.To]
	out := []byte{' '}
	angle := bytes.LastIndexByte(before, '<')
	if angle < 0 {
		return append(append(append(out, before...), to...), after...) // a comment may have the name
	}
	name := bytes.TrimSpace(before[:angle])
	if len(name) > 0 {
		out = append(append(out, quotedName(name)...), ' ')
	}
	return append(append(append(out, '<'), to...), '>')
}

// quotedName is a name, between quotation marks if it has characters that need them (RFC 5322, 3.2.3): a
// reader could take them for another address.
func quotedName(name []byte) []byte {
	if bytes.ContainsAny(name, `"(`) || !bytes.ContainsAny(name, `@[]\`) {
		return name
	}
	return []byte(`"` + strings.ReplaceAll(string(name), `\`, `\\`) + `"`)
}

// applyReplyTo sets Reply-To.
func (e *edit) applyReplyTo(h *header) {
	if e.replyTo.address == "" {
		return
	}
	value := e.replyTo.address
	if e.replyTo.name != "" {
		value = e.replyTo.name + "<" + value + ">"
	}
	h.replace("reply-to", rawField("Reply-To", []byte(" "+value)))
	h.note("reply-to rewritten")
}

// removeSender removes a Sender that is not the address in From, and keeps what it was.
func (e *edit) removeSender(h *header) {
	var kept []field
	for i := range h.fields {
		f := &h.fields[i]
		if f.name == "sender" && !isAddress(f.value(), e.from.address) {
			kept = append(kept, rawField("X-Original-Sender", f.value()))
		}
	}
	if len(kept) > 0 {
		h.replace("sender", kept...)
		h.note("sender removed")
	}
}

// rawField is a field of a value as another field had it.
func rawField(name string, value []byte) field {
	raw := append([]byte(name+":"), value...)
	if lineLength(raw) > maxLine {
		raw = append([]byte(name+":\r\n "), bytes.TrimLeft(value, " \t")...)
	}
	return field{strings.ToLower(name), append(raw, "\r\n"...)}
}

// parsed are the mailboxes of a value as others will read them; none if it is not an address list.
func parsed(value []byte) []*mail.Address {
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}
	boxes, err := p.ParseList(strings.ReplaceAll(string(value), "\r\n", ""))
	if err != nil {
		return nil
	}
	return boxes
}

// isAddress reports whether a value is one mailbox with this address.
func isAddress(value []byte, address string) bool {
	boxes := parsed(value)
	return len(boxes) == 1 && strings.EqualFold(boxes[0].Address, bare(address))
}

// bare is an address as package mail returns it: without quotation marks.
func bare(address string) string {
	if a, err := mail.ParseAddress("<" + address + ">"); err == nil {
		return a.Address
	}
	return address
}

// answers reports whether a value can be a Reply-To that says more than the address in From.
func answers(value []byte, address string) bool {
	return len(parsed(value)) > 0 && !isAddress(value, address)
}
