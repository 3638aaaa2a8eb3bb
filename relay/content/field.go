package content

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/internal/fields"
)

// header is what a reader knows of the header. Names are in lower case.
type header struct {
	covered   map[string]bool // by the h= of a signature
	exact     map[string]bool // of those: as they are written (RFC 6376, 3.4.1)
	seen      map[string]bool // of the fields that may be added
	kept      map[string]bool // that should have been removed, and are covered
	addresses int             // that were mended
}

// saw remembers a field that is there.
func (h *header) saw(name string) {
	switch name {
	case "message-id", "date", "from":
		mark(&h.seen, name)
	}
}

// lacks reports whether a field may be added: it is not there, and no signature covers that.
func (h *header) lacks(name string) bool { return !h.seen[name] && !h.covered[name] }

// mark adds a name to a set.
func mark(set *map[string]bool, name string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[name] = true
}

// look finds the signatures in the header at the start of b (RFC 6376, 3.5; RFC 8617, 4.1.2).
func (h *header) look(b []byte) {
	for len(b) > 0 {
		n := fields.End(b, true)
		name := fields.RawName(b[:n])
		if name == nil && !mboxLine(b) {
			return
		}
		if bytes.EqualFold(name, []byte("DKIM-Signature")) ||
			bytes.EqualFold(name, []byte("ARC-Message-Signature")) {
			_, value, _ := bytes.Cut(b[:n], []byte(":"))
			simple := fields.Simple(string(value))
			for _, name := range fields.Signed(string(value)) {
				mark(&h.covered, name)
				if simple {
					mark(&h.exact, name)
				}
			}
		}
		b = b[n:]
	}
}

// overrideField asks that the mail be offered whatever the suppression list says: "ignore". It is for this
// relay, and never leaves. Whether its client may ask for that is for the caller to say.
const overrideField = "x-mailwhy-suppression"

// field mends one field.
func (r *reader) field(name string, f []byte) {
	if name == overrideField {
		_, value, _ := bytes.Cut(f, []byte(":"))
		r.m.Unsuppressed = r.m.Unsuppressed || strings.EqualFold(string(bytes.TrimSpace(value)), "ignore")
	}
	switch {
	case r.drops(name):
		return
	case r.replaces(name, f):
		note(r.m, "empty "+name+" removed")
		return
	}
	r.header.saw(name)
	f = r.tidyName(name, f)
	if !r.known || !addressField(name) || r.header.covered[name] {
		r.emit(f)
		return
	}
	colon := bytes.IndexByte(f, ':') + 1
	a := addressMender{domain: r.mender.options.Domain, left: maxAddresses - r.header.addresses}
	r.emit(f[:colon], a.mend(f[colon:]))
	r.header.addresses = maxAddresses - a.left
	if a.completed {
		note(r.m, "domain added")
	}
	if a.quoted {
		note(r.m, "address quoted")
	}
	if a.undotted {
		note(r.m, "trailing dot removed")
	}
}

// tidyName takes away the blanks between the name and the colon of a field, or of the start of one. They are
// obsolete (RFC 5322, 4.5), and some programs that verify a signature find no such field.
func (r *reader) tidyName(name string, f []byte) []byte {
	colon := bytes.IndexByte(f, ':')
	if colon == len(name) || r.header.exact[name] {
		return f
	}
	note(r.m, "blank before colon removed")
	r.emit(f[:len(name)])
	return f[colon:]
}

// drops reports whether a field must not leave. One that a signature covers does leave, since without it the
// signature would be worthless.
func (r *reader) drops(name string) bool {
	if name != overrideField && !slices.Contains(r.mender.options.Drop, name) {
		return false
	}
	if r.header.covered[name] {
		if !r.header.kept[name] {
			r.mender.options.Log.Warn("a header field of content.drop_headers was not removed: "+
				"the message's DKIM signature covers it", "field", name, "id", r.m.ID)
		}
		mark(&r.header.kept, name)
		return false
	}
	note(r.m, name+" removed")
	return true
}

// replaces reports whether a field is empty and can be replaced.
func (r *reader) replaces(name string, f []byte) bool {
	if !r.mender.options.Complete || r.header.covered[name] {
		return false
	}
	_, value, _ := bytes.Cut(f, []byte(":"))
	value = bytes.Join(bytes.Fields(value), nil)
	empty := len(value) == 0
	switch name {
	case "date":
		return empty
	case "message-id":
		return empty || string(value) == "<>"
	case "from":
		return r.known && (empty || string(value) == "<>")
	}
	return false
}

// timeFormat is a date of RFC 5322, 3.3.
const timeFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// complete adds the fields that are missing at the end of the header.
func (r *reader) complete() {
	o := &r.mender.options
	if !o.Complete {
		return
	}
	if r.header.lacks("message-id") {
		r.m.MessageID = "<" + r.m.ID + "@" + o.Hostname + ">"
		r.add("Message-ID", r.m.MessageID)
	}
	if r.header.lacks("date") {
		r.add("Date", r.m.Arrived.In(time.Local).Format(timeFormat))
	}
	if r.known && r.header.lacks("from") {
		from := r.m.Envelope.From
		if from == "" {
			from = "MAILER-DAEMON@" + o.Hostname
		}
		r.add("From", from)
	}
}

// add adds a field.
func (r *reader) add(name, value string) {
	r.emit(fmt.Appendf(nil, "%s: %s\r\n", name, value))
	note(r.m, strings.ToLower(name)+" added")
}
