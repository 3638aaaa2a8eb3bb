package bounce

import (
	"bytes"
	"strings"
)

// field is a field of a header or of a delivery status.
type field struct {
	name  string
	value string // the lines of a folded field stay apart, each without the white space around it
}

// header is a row of fields, in their order.
type header []field

// get is the value of the first field that has the first of the names that any field has, or "".
func (h header) get(names ...string) string {
	for _, name := range names {
		for i := range h {
			if strings.EqualFold(h[i].name, name) {
				return h[i].value
			}
		}
	}
	return ""
}

// line is the value of the first field of that name, on one line.
func (h header) line(name string) string { return unfolded(h.get(name)) }

// unfolded is a value on one line (RFC 5322, 2.2.3).
func unfolded(value string) string { return strings.ReplaceAll(value, "\n", " ") }

// readHeader reads the header at start, up to and with the empty line that ends it; body is what comes next.
// A line that is neither a field nor the rest of one is passed over.
func (d *document) readHeader(file []byte, start, end int) (h header, body int) {
	f := fieldReader{doc: d}
	for at := start; at < end; {
		next := d.lineEnd(file, at, end)
		line := bytes.TrimRight(file[at:next], "\r\n")
		if len(line) == 0 {
			return f.done(), next
		}
		f.line(line)
		at = next
	}
	return f.done(), end
}

// ownFields are the fields that a report for programs consists of. Some begin it with empty lines.
func (p *part) ownFields() header {
	b := bytes.TrimLeft(p.decoded(), " \t\r\n")
	h, _ := p.doc.readHeader(b, 0, len(b))
	return h
}

// fieldReader makes fields of lines. The value of the last field is gathered in one buffer, so that a field
// of many lines costs no more than a long one.
type fieldReader struct {
	doc    *document
	fields header
	value  []byte
	full   bool // no further field is taken
}

// line adds one line, which is not empty.
func (f *fieldReader) line(line []byte) {
	if line[0] == ' ' || line[0] == '\t' { // RFC 5322, 2.2.3
		if rest := bytes.TrimSpace(line); len(f.fields) > 0 && len(rest) > 0 && !f.full {
			f.grow("\n")
			f.grow(string(rest))
		}
		return
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !found || len(name) == 0 || len(name) > maxName || bytes.ContainsAny(name, " \t<>@") {
		return
	}
	f.settle()
	if len(f.fields) >= MaxFields {
		f.full = true
		f.doc.beyond(LimitFields)
		return
	}
	f.fields = append(f.fields, field{name: string(name)})
	f.value = f.value[:0]
	f.grow(string(bytes.TrimSpace(value)))
}

// grow adds to the value of the last field.
func (f *fieldReader) grow(s string) {
	if room := MaxFieldSize - len(f.value); len(s) > room {
		f.doc.beyond(LimitFieldSize)
		s = s[:room]
	}
	f.value = append(f.value, s...)
}

// settle gives the last field its value.
func (f *fieldReader) settle() {
	if n := len(f.fields); n > 0 && !f.full {
		f.fields[n-1].value = string(f.value)
	}
}

// done are the fields.
func (f *fieldReader) done() header {
	f.settle()
	return f.fields
}
