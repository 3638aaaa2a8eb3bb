package submit

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/internal/address/list"
	"mailwhy/relay/internal/fields"
)

// MaxHeader is how long a header may be, bytes.
const MaxHeader = 1 << 20

// maxName is how long the name of a field may be with its colon: one line (RFC 5322, 2.1.1).
const maxName = 998

// The errors of Content.Mail. All are about the message or its addresses.
var (
	ErrHeader       = fmt.Errorf("the header is longer than %d bytes", MaxHeader)
	ErrNoRecipients = errors.New("the message has no recipients: To, Cc and Bcc name none")
	ErrAddress      = errors.New("not an address")
)

// Options say what a message lacks and where it goes. Host and Now are required.
type Options struct {
	From       string   // reverse-path (RFC 5321, 4.1.1.2); "" is the null sender
	To         []string // recipients
	FromHeader bool     // those in To, Cc and Bcc are recipients too, and Bcc is removed
	Author     string   // address of the From field that is added; From if empty
	Name       string   // of the author
	Domain     string   // completes addresses of the envelope without one; "": they stay
	Host       string   // of the Message-ID that is added
	Now        time.Time
}

// Mail is a message that can be handed over.
type Mail struct {
	From     string
	To       []string // each once
	Size     int64    // bytes of the content
	EightBit bool     // it has bytes above 127

	header []byte // with the empty line
	body   io.Reader
}

// Mail completes the message: From, Date and Message-ID are added where they are missing (RFC 5322, 3.6). A
// text without a header gets one. A From line of an mbox at its start is left out. The content must not be
// closed before the Mail is sent, and is sent once.
func (c *Content) Mail(o Options) (*Mail, error) {
	h := header{options: &o}
	start, err := h.read(c)
	if err != nil {
		return nil, err
	}
	m := &Mail{EightBit: c.eightBit, body: c.from(start)}
	if m.From, err = reversePath(o.From, o.Domain); err != nil {
		return nil, err
	}
	recipients := o.To
	if o.FromHeader {
		recipients = append(slices.Clone(o.To), h.recipients()...)
	}
	for _, text := range recipients {
		addresses, err := Addresses(text, o.Domain)
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if !slices.Contains(m.To, a) {
				m.To = append(m.To, a)
			}
		}
	}
	if len(m.To) == 0 {
		return nil, ErrNoRecipients
	}
	h.complete(m.From)
	m.header = append(h.out, "\r\n"...)
	m.Size = int64(len(m.header)) + c.size - start
	return m, nil
}

// reversePath is the sender as MAIL names it.
func reversePath(s, domain string) (string, error) {
	if s = strings.TrimSpace(s); s == "" || s == "<>" {
		return "", nil
	}
	one, err := Addresses(s, domain)
	if err == nil && len(one) != 1 {
		err = fmt.Errorf("%w: %q", ErrAddress, s)
	}
	if err != nil {
		return "", err
	}
	return one[0], nil
}

// Addresses are the addresses in a list of mailboxes (RFC 5322, 3.4), without names, comments and angle
// brackets. One without a domain gets the given one, if there is one. An empty text has none; where a text is
// no list, or an address has control characters, the error wraps ErrAddress.
func Addresses(text, domain string) (all []string, err error) {
	found := list.Mailboxes([]byte(text))
	if len(found) == 0 && strings.Trim(text, " \t\r\n,;") != "" && !emptyGroup(text) {
		return nil, fmt.Errorf("%w: %q", ErrAddress, text)
	}
	for _, box := range found {
		a := text[box.Spec.From:box.Spec.To]
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("%w: %q", ErrAddress, text)
		}
		if domain != "" && (!strings.Contains(a, "@") || strings.HasSuffix(a, `"`)) {
			a += "@" + domain
		}
		all = append(all, a)
	}
	return all, nil
}

// emptyGroup reports whether a text is a group without members, as in "undisclosed-recipients:;" (RFC 5322,
// 3.4).
func emptyGroup(text string) bool {
	_, members, ok := strings.Cut(text, ":")
	return ok && strings.Trim(members, " \t\r\n;") == ""
}

// header is the header as it was read.
type header struct {
	options *Options
	out     []byte // what is kept of it
	seen    map[string]bool
	to      []string // values of To, Cc and Bcc
	resent  []string // values of Resent-To, Resent-Cc and Resent-Bcc
}

// read reads the header, and returns where the body begins.
func (h *header) read(c *Content) (body int64, err error) {
	b, err := io.ReadAll(io.LimitReader(c.from(0), MaxHeader))
	if err != nil {
		return 0, err
	}
	h.seen = map[string]bool{}
	whole := int64(len(b)) == c.size
	if bytes.HasPrefix(b, []byte("From ")) {
		if _, b, _ = bytes.Cut(b, []byte("\n")); len(b) == 0 && !whole {
			return 0, ErrHeader
		}
		body = min(c.size, MaxHeader) - int64(len(b))
	}
	for len(b) > 0 {
		if bytes.HasPrefix(b, []byte("\r\n")) {
			return body + 2, nil
		}
		n := fields.End(b, whole)
		name := fields.Name(b[:min(len(b), maxName)])
		switch {
		case name == "":
			return body, nil // the body, without an empty line before it
		case n == 0:
			return 0, ErrHeader
		}
		h.take(name, b[:n])
		b = b[n:]
		body += int64(n)
	}
	if !whole {
		return 0, ErrHeader
	}
	return body, nil
}

// take takes a field.
func (h *header) take(name string, field []byte) {
	_, value, _ := strings.Cut(string(field), ":")
	value = strings.TrimSpace(strings.ReplaceAll(value, "\r\n", ""))
	h.seen[name] = true
	switch name {
	case "to", "cc", "bcc":
		h.to = append(h.to, value)
	case "resent-to", "resent-cc", "resent-bcc":
		h.resent = append(h.resent, value)
	}
	if blind := name == "bcc" || name == "resent-bcc"; !blind || !h.options.FromHeader {
		h.out = append(h.out, field...)
	}
}

// recipients are the address lists that say where the message goes: if it was sent on, only those of that
// (RFC 5322, 3.6.6).
func (h *header) recipients() []string {
	if len(h.resent) > 0 {
		return h.resent
	}
	return h.to
}

// timeFormat is a date of RFC 5322, 3.3.
const timeFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// complete adds what is missing.
func (h *header) complete(from string) {
	o := h.options
	add := func(name, value string) {
		if !h.seen[strings.ToLower(name)] {
			h.out = fmt.Appendf(h.out, "%s: %s\r\n", name, value)
		}
	}
	author := from
	if author == "" {
		author = o.Author
	}
	add("From", mailbox(o.Name, author))
	add("Date", o.Now.Format(timeFormat))
	add("Message-ID", "<"+rand.Text()+"@"+o.Host+">")
}

// mailbox is a name and an address as a From field has them.
func mailbox(name, address string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(name))
	if name == "" {
		return address
	}
	// The library's own form of an address without a domain is not valid.
	phrase, _ := strings.CutSuffix((&mail.Address{Name: name, Address: "x@x"}).String(), "<x@x>")
	return phrase + "<" + address + ">"
}
