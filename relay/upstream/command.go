package upstream

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/xtext"
)

// admit compares a message with what the server offers. utf8 reports whether it needs SMTPUTF8. lack is set
// if the server cannot accept the message: permanently, or with NetExtensionMissing only on this
// connection. err is set if the content could not be read to find out.
func admit(t *relay.Transaction, ext *extensions, h *history, buf []byte) (
	utf8 bool, lack *netError, err error,
) {
	m := t.Message
	if lack := h.tooLarge(m.Size, ext); lack != nil { // RFC 1870, 6.1
		return false, lack, nil
	}
	if !ext.DSN && asksDSN(t) {
		if lack := h.withoutDSN(); lack != nil {
			return false, lack, nil
		}
	}
	utf8 = m.Envelope.SMTPUTF8 || !envelopeIs(t, ascii[string])
	if utf8 && !ext.SMTPUTF8 {
		// RFC 6531, 3.4: a message that does not need SMTPUTF8 may go without it
		utf8 = !envelopeIs(t, func(a string) bool { _, ok := plainly(a); return ok })
		if !utf8 {
			utf8, err = eightBit(t, buf)
		}
		if utf8 {
			return utf8, h.missing(&h.utf8, netError{diagnose.NetUTF8Unavailable,
				"the message needs SMTPUTF8, which the server does not offer"}), err
		}
	}
	if err == nil && !ext.EightBit {
		// RFC 6152, 3: convert it or return it. The content decides, not the declaration: many programs
		// declare 8BITMIME for plain ASCII, and others declare nothing for 8-bit content. Converting would
		// break signatures.
		var needed bool
		if needed, err = eightBit(t, buf); needed {
			return utf8, h.missing(&h.eightBit, netError{diagnose.NetEightUnavailable,
				"the message needs 8BITMIME, which the server does not offer"}), err
		}
	}
	return utf8, nil, err
}

func sizeText(size, limit int64) string {
	return fmt.Sprintf("the message has %d bytes, the server accepts at most %d", size, limit)
}

// asksDSN reports whether the message came with DSN parameters (RFC 3461, 4).
func asksDSN(t *relay.Transaction) bool {
	e := &t.Message.Envelope
	return e.Ret != relay.RetUndeclared || e.EnvID != "" ||
		slices.ContainsFunc(t.Recipients, func(i int) bool {
			r := &t.Message.Recipients[i]
			return r.Notify != 0 || r.ORCPT != ""
		})
}

// envelopeIs reports whether all addresses of the envelope are so.
func envelopeIs(t *relay.Transaction, so func(address string) bool) bool {
	for _, i := range t.Recipients {
		if !so(t.Message.Recipients[i].Address) {
			return false
		}
	}
	return so(t.From)
}

// plainly writes an address without SMTPUTF8, its domain in A-labels (RFC 5891). ok is false if that cannot
// be done.
func plainly(addr string) (plain string, ok bool) {
	plain, ok = address.ASCII(addr)
	return plain, ok && path(plain)
}

// written is an address as a command has it.
func written(addr string, ext *extensions) string {
	if ext.SMTPUTF8 || ascii(addr) {
		return addr
	}
	plain, _ := plainly(addr)
	return plain
}

// appendMail appends the MAIL command of a part (RFC 5321, 4.1.1.2).
func appendMail(dst []byte, p *part, ext *extensions) []byte {
	t := p.d.t
	e := &t.Message.Envelope
	dst = append(append(append(dst, "MAIL FROM:<"...), written(cmp.Or(p.stamp.From, t.From), ext)...), '>')
	if ext.sized && t.Message.Size > 0 {
		dst = strconv.AppendInt(append(dst, " SIZE="...), t.Message.Size+p.stamp.Field.Size(), 10)
	}
	if e.Body != relay.BodyUndeclared && ext.EightBit {
		dst = append(append(dst, " BODY="...), e.Body...)
	}
	if p.utf8 && ext.SMTPUTF8 {
		dst = append(dst, " SMTPUTF8"...)
	}
	if ext.DSN && e.Ret != relay.RetUndeclared {
		dst = append(append(dst, " RET="...), e.Ret...) // RFC 3461, 5.2.1
	}
	if id := cmp.Or(e.EnvID, p.stamp.EnvID); ext.DSN && id != "" {
		dst = append(append(dst, " ENVID="...), xtext.Encode(id)...)
	}
	return append(dst, "\r\n"...)
}

// appendRcpt appends the RCPT command (RFC 5321, 4.1.1.3) with the DSN parameters that were given (RFC 3461,
// 5.2.1).
func appendRcpt(dst []byte, r *relay.Recipient, ext *extensions) []byte {
	dst = append(append(append(dst, "RCPT TO:<"...), written(r.Address, ext)...), '>')
	if ext.DSN && r.Notify != 0 {
		dst = appendNotify(append(dst, " NOTIFY="...), r.Notify)
	}
	if ext.DSN && r.ORCPT != "" {
		dst = append(append(dst, " ORCPT="...), originalFor(r.ORCPT, ext)...)
	}
	return append(dst, "\r\n"...)
}

// originalFor is an ORCPT as a server takes it (RFC 6533, 3: without SMTPUTF8 it is ASCII).
func originalFor(orcpt string, ext *extensions) string {
	if kind, original, err := xtext.ORCPT(orcpt); err == nil && !ext.SMTPUTF8 && !ascii(orcpt) {
		return kind + ";" + xtext.EncodeUTF8(original)
	}
	return orcpt
}

// appendNotify appends the list of a NOTIFY parameter (RFC 3461, 4.1).
func appendNotify(dst []byte, n relay.Notify) []byte {
	first := true
	for _, m := range [...]struct {
		bit  relay.Notify
		name string
	}{{relay.NotifyNever, "NEVER"}, {relay.NotifySuccess, "SUCCESS"}, {relay.NotifyFailure, "FAILURE"},
		{relay.NotifyDelay, "DELAY"}} {
		if n&m.bit == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, m.name...), false
	}
	return dst
}

// writable returns an error if the envelope cannot be written as commands without changing their meaning.
// It is the last line of defence behind the front door.
func writable(t *relay.Transaction) error {
	if !path(t.From) {
		return fmt.Errorf("the reverse-path %q cannot be written in a command", t.From)
	}
	for _, i := range t.Recipients {
		r := &t.Message.Recipients[i]
		if r.Address == "" || !path(r.Address) || !plainText(r.ORCPT) {
			return fmt.Errorf("the recipient %q (ORCPT %q) cannot be written in a command",
				r.Address, r.ORCPT)
		}
	}
	return nil
}

// path reports whether s, in angle brackets, is one path: it has no control character, and no space or
// bracket outside a quoted string.
func path(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '\\' && quoted:
			i++
			if i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return false
			}
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '<' || c == '>'):
			return false
		}
	}
	return !quoted
}

// plainText reports whether s is free of spaces and control characters.
func plainText(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
