package upstream

import (
	"fmt"
	"strconv"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/xtext"
)

// need is what a message asks of the server beyond RFC 5321.
type need struct {
	eightBit bool // RFC 6152: BODY is declared
	utf8     bool // RFC 6531
}

// admit compares a message with what the server offers. lack is set when it cannot be taken; err when the content
// could not be read to find out.
func admit(t *relay.Transaction, ext *extensions, buf []byte) (n need, lack *netError, err error) {
	m := t.Message
	if ext.Size > 0 && m.Size > ext.Size { // RFC 1870, 6.1
		return n, &netError{diagnose.NetSizeExceeded,
			fmt.Sprintf("the message has %d bytes, the server takes %d at most", m.Size, ext.Size)}, nil
	}
	n.utf8 = m.Envelope.SMTPUTF8 || !addressesASCII(t)
	n.eightBit = m.Envelope.Body == relay.Body8BitMIME
	if n.utf8 && !ext.SMTPUTF8 {
		// RFC 6531, 3.4: a message that needs none of it may go without
		n.utf8 = !addressesASCII(t)
		if !n.utf8 {
			n.utf8, err = eightBit(t, buf)
		}
		if n.utf8 {
			return n, &netError{diagnose.NetUTF8Unavailable, "the message needs SMTPUTF8, which the server does not offer"}, err
		}
	}
	if err == nil && n.eightBit && !ext.EightBit {
		// RFC 6152, 3: converted or returned. Many programs declare 8BITMIME for content that is plain ASCII
		if n.eightBit, err = eightBit(t, buf); n.eightBit {
			return n, &netError{diagnose.NetEightUnavailable, "the message needs 8BITMIME, which the server does not offer"}, err
		}
	}
	return n, nil, err
}

func addressesASCII(t *relay.Transaction) bool {
	for _, i := range t.Recipients {
		if !ascii(t.Message.Recipients[i].Address) {
			return false
		}
	}
	return ascii(t.From)
}

// appendMail appends the MAIL command (RFC 5321, 4.1.1.2).
func appendMail(dst []byte, t *relay.Transaction, ext *extensions, n need) []byte {
	e := &t.Message.Envelope
	dst = append(append(append(dst, "MAIL FROM:<"...), t.From...), '>')
	if ext.sized && t.Message.Size > 0 {
		dst = strconv.AppendInt(append(dst, " SIZE="...), t.Message.Size, 10)
	}
	if e.Body != relay.BodyUndeclared && ext.EightBit {
		dst = append(append(dst, " BODY="...), e.Body...)
	}
	if n.utf8 && ext.SMTPUTF8 {
		dst = append(dst, " SMTPUTF8"...)
	}
	if ext.DSN && e.Ret != relay.RetUndeclared {
		dst = append(append(dst, " RET="...), e.Ret...) // RFC 3461, 5.2.1
	}
	if ext.DSN && e.EnvID != "" {
		dst = append(append(dst, " ENVID="...), xtext.Encode(e.EnvID)...)
	}
	return append(dst, "\r\n"...)
}

// appendRcpt appends the RCPT command (RFC 5321, 4.1.1.3) with the DSN parameters as they were given, and none that
// was not (RFC 3461, 5.2.1).
func appendRcpt(dst []byte, r *relay.Recipient, ext *extensions) []byte {
	dst = append(append(append(dst, "RCPT TO:<"...), r.Address...), '>')
	if ext.DSN && r.Notify != 0 {
		dst = appendNotify(append(dst, " NOTIFY="...), r.Notify)
	}
	if ext.DSN && r.ORCPT != "" {
		dst = append(append(dst, " ORCPT="...), r.ORCPT...)
	}
	return append(dst, "\r\n"...)
}

// appendNotify appends the list of a NOTIFY parameter (RFC 3461, 4.1).
func appendNotify(dst []byte, n relay.Notify) []byte {
	first := true
	for _, m := range [...]struct {
		bit  relay.Notify
		name string
	}{{relay.NotifyNever, "NEVER"}, {relay.NotifySuccess, "SUCCESS"}, {relay.NotifyFailure, "FAILURE"}, {relay.NotifyDelay, "DELAY"}} {
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

// writable reports whether the envelope can be written as commands without changing their meaning: the last line
// of defence behind the front door.
func writable(t *relay.Transaction) error {
	if !path(t.From) {
		return fmt.Errorf("the reverse-path %q cannot be written in a command", t.From)
	}
	for _, i := range t.Recipients {
		r := &t.Message.Recipients[i]
		if r.Address == "" || !path(r.Address) || !plainText(r.ORCPT) {
			return fmt.Errorf("the recipient %q (ORCPT %q) cannot be written in a command", r.Address, r.ORCPT)
		}
	}
	return nil
}

// path reports whether s, between angle brackets, is one path: no control character, and no space or bracket
// outside a quoted string.
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
