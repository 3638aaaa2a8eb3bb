package rewrite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"mailwhy/relay"
	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/fields"
)

// Field is a header field that is added. Its value is ASCII, has no line ends, and is folded as it is
// written.
type Field struct{ Name, Value string }

// edit is what is changed in a header. The zero edit changes nothing.
type edit struct {
	from       mailbox // the new From; without an address it stays
	replyTo    mailbox // likewise
	masks      []string
	noSender   bool // Sender is removed, if it names somebody else
	add, set   []Field
	remove     []string // names of fields
	originalTo []string // for X-Original-To
	subject    string   // in front of the subject
}

// setAll adds fields to those that are set, unless one of the same name is.
func (e *edit) setAll(list []Field) {
	for _, f := range list {
		is := func(other Field) bool { return strings.EqualFold(other.Name, f.Name) }
		if !slices.ContainsFunc(e.set, is) {
			e.set = append(e.set, f)
		}
	}
}

// empty reports whether nothing is to be changed.
func (e *edit) empty() bool {
	return e.from.address == "" && e.replyTo.address == "" && !e.noSender && e.subject == "" &&
		len(e.masks)+len(e.add)+len(e.set)+len(e.remove)+len(e.originalTo) == 0
}

// prepare makes a transaction's content an edited one. Its header is read anew at each Open, since whoever
// signs or converts reads a content several times.
func (e *edit) prepare(t *relay.Transaction, log *slog.Logger) {
	if e.empty() {
		return
	}
	if e.from.address != "" {
		t.HeaderFrom = address.Domain(e.from.address)
	} else if len(e.masks) > 0 {
		e.maskDomain(t)
	}
	open, told := t.Open, false
	t.Open = func() (io.ReadCloser, error) {
		content, err := open()
		if err != nil {
			return nil, err
		}
		h, rest, err := readHeader(content)
		if err != nil {
			content.Close()
			return nil, fmt.Errorf("rewrite: %w", err)
		}
		e.apply(h)
		for _, change := range h.notes {
			t.Note(change)
		}
		if broken := h.broken(); len(broken) > 0 {
			t.Note("dkim signature broken")
			if !told {
				log.Warn("rewriting changes fields that a DKIM signature of the message covers, so the "+
					"signature no longer verifies", "domains", strings.Join(broken, " "), "id", t.Message.ID)
			}
			told = true
		}
		return &edited{io.MultiReader(bytes.NewReader(h.bytes()), rest), content}, nil
	}
}

// edited is a content with another header.
type edited struct {
	io.Reader
	io.Closer
}

// MaxHeader is how large a header may be that is changed, bytes.
const MaxHeader = 1 << 20

// errHeader is why mail with an endless header does not leave as it came.
var errHeader = errors.New("the header has more than 1 MiB: it cannot be changed")

// header is a header that is being changed.
type header struct {
	fields  []field
	end     []byte // what follows the last field: the empty line, or what is not a field
	notes   []string
	changed map[string]bool // names of fields that were changed, added or removed
}

// field is one field of a header, as it is sent.
type field struct {
	name string // in lower case
	raw  []byte // ends in CRLF
}

// value is what follows the colon, without the line end: the lines between stay folded.
func (f *field) value() []byte {
	return bytes.TrimSuffix(f.raw[bytes.IndexByte(f.raw, ':')+1:], []byte("\r\n"))
}

// readHeader reads the header of a content. rest is all that follows: it begins where the fields end.
func readHeader(content io.Reader) (h *header, rest io.Reader, err error) {
	buf := make([]byte, 0, 8<<10)
	for ended := false; !ended && err == nil; {
		if len(buf) > MaxHeader {
			return nil, nil, errHeader
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
		from := len(buf)
		var n int
		n, err = content.Read(buf[from:cap(buf)])
		buf = buf[:from+n]
		ended = bytes.HasPrefix(buf, []byte("\r\n")) ||
			bytes.Contains(buf[max(0, from-3):], []byte("\r\n\r\n"))
	}
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	h = &header{changed: map[string]bool{}}
	for {
		name := fields.Name(buf)
		if name == "" {
			break
		}
		n := fields.End(buf, true)
		h.fields, buf = append(h.fields, field{name, terminated(buf[:n:n])}), buf[n:]
	}
	h.end = buf
	if err == io.EOF {
		content = bytes.NewReader(nil)
	}
	return h, content, nil
}

// terminated is a field with its line end, which the last one of a content may lack.
func terminated(raw []byte) []byte {
	if bytes.HasSuffix(raw, []byte("\r\n")) {
		return raw
	}
	return append(raw, "\r\n"...)
}

// bytes is the header as it is sent. A line that begins with a blank and has no field before it would go on
// with one of ours, so an empty line goes before it.
func (h *header) bytes() []byte {
	var out []byte
	for i := range h.fields {
		out = append(out, h.fields[i].raw...)
	}
	if len(h.end) > 0 && (h.end[0] == ' ' || h.end[0] == '\t') {
		out = append(out, "\r\n"...)
	}
	return append(out, h.end...)
}

// has reports whether there is a field of a name in lower case.
func (h *header) has(name string) bool {
	return slices.ContainsFunc(h.fields, func(f field) bool { return f.name == name })
}

// replace puts fields in the place of the first of a name, removes the others of that name, and appends where
// there is none.
func (h *header) replace(name string, with ...field) {
	at := slices.IndexFunc(h.fields, func(f field) bool { return f.name == name })
	if at < 0 {
		at = len(h.fields)
	}
	h.drop(name)
	h.fields = slices.Insert(h.fields, at, with...)
	h.changed[name] = true
	for _, f := range with {
		h.changed[f.name] = true
	}
}

// drop removes the fields of a name, and reports whether there were any.
func (h *header) drop(name string) bool {
	before := len(h.fields)
	h.fields = slices.DeleteFunc(h.fields, func(f field) bool { return f.name == name })
	if len(h.fields) == before {
		return false
	}
	h.changed[name] = true
	return true
}

// append adds a field at the end of the header.
func (h *header) append(f field) {
	h.fields = append(h.fields, f)
	h.changed[f.name] = true
}

// note notes a change.
func (h *header) note(change string) { h.notes = append(h.notes, change) }

// apply changes a header.
func (e *edit) apply(h *header) {
	for _, name := range e.remove {
		if name = strings.ToLower(name); h.drop(name) {
			h.note(name + " removed")
		}
	}
	e.applyMasks(h)
	e.applyFrom(h)
	e.applyReplyTo(h)
	for _, f := range e.set {
		name := strings.ToLower(f.Name)
		h.replace(name, f.field())
		h.note(name + " set")
	}
	for _, f := range e.add {
		if name := strings.ToLower(f.Name); !single(name) || !h.has(name) {
			h.append(f.field())
			h.note(name + " added")
		}
	}
	for _, to := range e.originalTo {
		h.append(rawField("X-Original-To", []byte(" "+to)))
		h.note("x-original-to added")
	}
	if e.subject != "" {
		e.markSubject(h)
	}
}

// markSubject puts the mark in front of the subject.
func (e *edit) markSubject(h *header) {
	at := slices.IndexFunc(h.fields, func(f field) bool { return f.name == "subject" })
	h.note("subject marked")
	h.changed["subject"] = true
	if at < 0 {
		h.append(Field{"Subject", e.subject}.field())
		return
	}
	f := &h.fields[at]
	raw := append([]byte("Subject: "+e.subject), ' ')
	raw = append(raw, bytes.TrimLeft(f.value(), " \t")...)
	if lineLength(raw) > maxLine {
		raw = append([]byte("Subject: "+e.subject+"\r\n "), bytes.TrimLeft(f.value(), " \t")...)
	}
	f.raw = append(raw, "\r\n"...)
}

// single reports whether a header may have only one field of a name: RFC 5322, 3.6; RFC 2045, 3; RFC 2369,
// 3; RFC 2919, 3; RFC 8058, 3.1; RFC 3834, 5.
func single(name string) bool {
	switch name {
	case "date", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references",
		"subject", "mime-version", "content-type", "content-transfer-encoding", "content-id",
		"content-description", "content-disposition", "list-id", "list-help", "list-unsubscribe",
		"list-unsubscribe-post", "list-subscribe", "list-post", "list-owner", "list-archive",
		"auto-submitted":
		return true
	}
	return false
}

// broken are the domains of the signatures that cover a field which was changed.
func (h *header) broken() (domains []string) {
	if len(h.changed) == 0 {
		return nil
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.name != "dkim-signature" && f.name != "arc-message-signature" || len(domains) == maxTold {
			continue
		}
		value := string(f.value())
		covers := func(name string) bool { return h.changed[name] }
		if slices.ContainsFunc(fields.Signed(value), covers) {
			domains = append(domains, signer(value))
		}
	}
	return domains
}

// maxTold bounds the broken signatures that are told of.
const maxTold = 3

// signer is the d= tag of a signature (RFC 6376, 3.5).
func signer(value string) string {
	for tag := range strings.SplitSeq(value, ";") {
		key, domain, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(key) == "d" {
			return strings.ToLower(strings.TrimSpace(domain))
		}
	}
	return "unknown"
}

// field is the field as it is sent, folded (RFC 5322, 2.1.1 and 2.2.3).
func (f Field) field() field {
	out := []byte(f.Name + ":")
	at := len(out)
	for word := range strings.FieldsSeq(f.Value) {
		if at+1+len(word) > maxFolded && at > len(f.Name)+1 {
			out, at = append(out, "\r\n"...), 0
		}
		out, at = append(append(out, ' '), word...), at+1+len(word)
	}
	return field{strings.ToLower(f.Name), append(out, "\r\n"...)}
}

// The lengths of lines, without their ends, in bytes (RFC 5322, 2.1.1).
const (
	maxFolded = 78
	maxLine   = 998
)

// lineLength is the length of the longest line.
func lineLength(b []byte) (longest int) {
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		longest = max(longest, len(line))
	}
	return longest
}
