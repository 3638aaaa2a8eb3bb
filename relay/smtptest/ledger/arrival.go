package ledger

import (
	"bytes"
	"fmt"
	"hash"
	"strings"
)

// Mark begins the line of a message's header that carries its id.
const Mark = "X-Ledger-Id: "

// Header is the line that carries an id.
func Header(id string) string { return Mark + id + "\r\n" }

// Address is an address that names its message, so that a report names the message even when nothing
// of the message comes back with it: USER.ID.N@sink.test. An id that is used so has no dot.
func Address(user, id string, n int) string { return fmt.Sprintf("%s.%s.%d@sink.test", user, id, n) }

// idOf is the id in such an address, or "".
func idOf(address string) string {
	local, _, _ := strings.Cut(address, "@")
	if parts := strings.Split(local, "."); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// Arrival reads one content as it streams by, so that none has to be kept.
type Arrival struct {
	ledger *Ledger
	id     string    // "" until the Mark was seen in the header
	sum    hash.Hash // from the Mark on
	before []byte    // what stands before the Mark, for the note
	trace  bool      // the lines so far are Received fields and signatures alone
	body   bool      // past the header
	report report
}

// shown is how much of what stands before the Mark is kept.
const shown = 400

// Arrive begins a content.
func (l *Ledger) Arrive() *Arrival {
	return &Arrival{ledger: l, sum: l.hash(), trace: true}
}

// Line takes the next piece, at most one line, its end included.
func (a *Arrival) Line(b []byte) {
	switch {
	case len(b) == 0:
		return
	case a.id != "":
	case !a.body && bytes.HasPrefix(b, []byte(Mark)):
		a.id = string(bytes.TrimRight(b[len(Mark):], "\r\n"))
	default:
		a.beforeMark(b)
		return
	}
	a.sum.Write(b)
}

// beforeMark takes a line of a header before the Mark, or of a content that has none there.
func (a *Arrival) beforeMark(b []byte) {
	if !a.body {
		a.trace = a.trace && (bytes.HasPrefix(b, []byte("Received: ")) ||
			bytes.HasPrefix(b, []byte("DKIM-Signature: ")) || b[0] == ' ' || b[0] == '\t')
		a.before = append(a.before, b[:min(len(b), shown-len(a.before))]...)
		a.body = blank(b)
	}
	a.report.line(b)
}

// blank reports whether b is an empty line.
func blank(b []byte) bool { return len(b) <= 2 && bytes.HasSuffix(b, []byte("\n")) }

// Read is the record of a whole content that came another way than over SMTP: it has no envelope.
func (l *Ledger) Read(content []byte) Record {
	a := l.Arrive()
	for line := range bytes.Lines(content) {
		a.Line(line)
	}
	return a.record("", nil)
}

// Enter writes what arrived for an envelope. The server says 250 only after it.
func (a *Arrival) Enter(from string, to []string) error {
	return a.ledger.Write(a.record(from, to))
}

// record is what the content was.
func (a *Arrival) record(from string, to []string) Record {
	if a.id != "" {
		r := Record{What: Arrived, ID: a.id, From: from, To: to, Sum: sumText(a.sum)}
		if !a.trace {
			r.Note = fmt.Sprintf("(before it stands %q)", a.before)
		}
		return r
	}
	a.report.end()
	if len(a.report.failed) > 0 {
		return Record{What: Bounced, ID: a.report.id, To: a.report.failed, Report: a.report.messageID}
	}
	return Record{What: Stray, From: from, To: to, Note: fmt.Sprintf("%q", a.before)}
}

// report reads a delivery status notification line by line (RFC 3464, 2.3).
type report struct {
	messageID string
	id        string   // of the message that it is about
	failed    []string // recipients with Action: failed

	field     []byte // the field being read, folded lines joined; nil for those of no interest
	recipient string // of the block being read
	action    string
}

// line takes the next line. Blocks end with an empty line.
func (r *report) line(b []byte) {
	folded := len(b) > 2 && (b[0] == ' ' || b[0] == '\t')
	switch {
	case folded && r.field != nil:
		r.field = append(append(r.field, ' '), bytes.TrimSpace(b)...)
		return
	case folded:
		return
	}
	r.endField()
	switch {
	case blank(b):
		r.endBlock()
	case begins(b, "Message-ID:"), begins(b, "Final-Recipient:"), begins(b, "Action:"):
		r.field = append(r.field[:0], bytes.TrimSpace(b)...)
	case r.id == "" && bytes.HasPrefix(b, []byte(Mark)): // the message that comes back
		r.id = string(bytes.TrimSpace(b[len(Mark):]))
	}
}

// begins reports whether a line is the field of that name.
func begins(line []byte, name string) bool {
	return len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name)
}

// endField takes in the field that was read.
func (r *report) endField() {
	if r.field == nil {
		return
	}
	name, value, _ := strings.Cut(string(r.field), ":")
	value = strings.TrimSpace(value)
	r.field = nil
	switch strings.ToLower(name) {
	case "message-id":
		if r.messageID == "" {
			r.messageID = value
		}
	case "action":
		r.action = strings.ToLower(value)
	case "final-recipient":
		if kind, address, ok := strings.Cut(
			value,
			";",
		); ok &&
			strings.EqualFold(strings.TrimSpace(kind), "rfc822") {
			r.recipient = strings.Trim(strings.TrimSpace(address), "<>")
		}
	}
}

// endBlock takes in the recipient that was read.
func (r *report) endBlock() {
	if r.recipient != "" && r.action == "failed" {
		r.failed = append(r.failed, r.recipient)
		if id := idOf(r.recipient); id != "" {
			r.id = id
		}
	}
	r.recipient, r.action = "", ""
}

// end takes in what has no empty line behind it.
func (r *report) end() {
	r.endField()
	r.endBlock()
}
