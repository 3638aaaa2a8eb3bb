package main

import (
	"bytes"
	"html"
	"io"
	"mime"
	"strings"

	"github.com/emersion/go-message"
)

// Bounds on what a message may be made of, so that a hostile one costs little.
const (
	maxDepth = 8
	maxParts = 200
)

// mimePart is a part of a message, where it stands in the file. It is read with tolerance: a line that is no field is
// passed over, a missing last boundary ends with the part around it.
type mimePart struct {
	fields  []field
	kind    string // media type, lower case
	file    []byte
	start   int // of the body in file, encoded as it is
	end     int
	parts   []mimePart
	foreign bool // file is not the file that was read, but something decoded from it
}

// readMIME reads the part that file[start:end] is. budget is how many more parts are read.
func readMIME(file []byte, start, end, depth int, budget *int) mimePart {
	*budget--
	p := mimePart{file: file, end: end}
	p.fields, p.start = readFields(file, start, end)
	kind, params := p.contentType()
	p.kind = kind
	if depth >= maxDepth {
		return p
	}
	switch {
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		for _, s := range splitParts(file, p.start, end, params["boundary"], budget) {
			p.parts = append(p.parts, readMIME(file, s[0], s[1], depth+1, budget))
		}
	case kind == "message/rfc822" || kind == "message/global":
		p.parts = []mimePart{p.inside(depth, budget)}
	}
	return p
}

// inside is the message that p holds. One that is encoded, as it should not be (RFC 2046, 5.2.1), is decoded.
func (p *mimePart) inside(depth int, budget *int) mimePart {
	if p.encoding() == "" {
		return readMIME(p.file, p.start, p.end, depth+1, budget)
	}
	decoded := p.decoded()
	m := readMIME(decoded, 0, len(decoded), depth+1, budget)
	m.setForeign()
	return m
}

// setForeign marks p and all in it as no part of the file.
func (p *mimePart) setForeign() {
	p.foreign = true
	for i := range p.parts {
		p.parts[i].setForeign()
	}
}

// contentType is the media type with its parameters; text/plain where none is given or it cannot be read.
func (p *mimePart) contentType() (string, map[string]string) {
	value := unfolded(p.field("Content-Type"))
	kind, params, err := mime.ParseMediaType(value)
	if err == nil {
		return kind, params
	}
	kind, rest, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if !strings.Contains(kind, "/") {
		return "text/plain", nil
	}
	if i := strings.Index(strings.ToLower(rest), "boundary="); i >= 0 {
		boundary := rest[i+len("boundary="):]
		if quoted, ok := strings.CutPrefix(boundary, `"`); ok {
			boundary, _, _ = strings.Cut(quoted, `"`)
		} else {
			boundary, _, _ = strings.Cut(boundary, ";")
		}
		return kind, map[string]string{"boundary": strings.TrimSpace(boundary)}
	}
	return kind, nil
}

// splitParts finds the parts of a multipart body (RFC 2046, 5.1.1). The line end in front of a boundary belongs to it.
func splitParts(file []byte, start, end int, boundary string, budget *int) [][2]int {
	mark := []byte("--" + boundary)
	var parts [][2]int
	from := -1
	for at := start; at < end && len(parts) < *budget; {
		next := lineEnd(file, at, end)
		line := bytes.TrimRight(file[at:next], " \t\r\n")
		if rest, ok := bytes.CutPrefix(line, mark); ok && (len(rest) == 0 || string(rest) == "--") {
			if from >= 0 {
				parts = append(parts, [2]int{from, max(from, at-lineBreak(file[start:at]))})
			}
			if from = next; len(rest) > 0 {
				return parts
			}
		}
		at = next
	}
	if from >= 0 && from < end {
		parts = append(parts, [2]int{from, end})
	}
	return parts
}

// lineEnd is where the line at at ends, its line end included.
func lineEnd(file []byte, at, end int) int {
	if i := bytes.IndexByte(file[at:end], '\n'); i >= 0 {
		return at + i + 1
	}
	return end
}

// lineBreak is the length of the line end at the end of b.
func lineBreak(b []byte) int {
	switch {
	case bytes.HasSuffix(b, []byte("\r\n")):
		return 2
	case bytes.HasSuffix(b, []byte("\n")):
		return 1
	}
	return 0
}

// field is the value of the first field of that name, folded as it came.
func (p *mimePart) field(name string) string {
	for i := range p.fields {
		if strings.EqualFold(p.fields[i].name, name) {
			return p.fields[i].value
		}
	}
	return ""
}

// encoding is how the body is encoded: base64, quoted-printable or "" for not at all.
func (p *mimePart) encoding() string {
	e := strings.ToLower(strings.TrimSpace(p.field("Content-Transfer-Encoding")))
	if e == "base64" || e == "quoted-printable" {
		return e
	}
	return ""
}

// body is the body as it stands in the file.
func (p *mimePart) body() []byte { return p.file[p.start:p.end] }

// decoded is the body without its encoding, as far as it can be read.
func (p *mimePart) decoded() []byte {
	b, _ := p.decode()
	return b
}

// decode takes the encoding off the body. With an error it returns what came before the fault.
func (p *mimePart) decode() ([]byte, error) {
	if p.encoding() == "" {
		return p.body(), nil
	}
	var h message.Header
	h.Set("Content-Type", "application/octet-stream") // the character set is left alone
	h.Set("Content-Transfer-Encoding", p.encoding())
	e, err := message.New(h, bytes.NewReader(p.body()))
	if err != nil {
		return p.body(), err
	}
	return io.ReadAll(e.Body)
}

// words is the text of p for people: of a part of text as it is, of HTML without its marks, of several parts the first
// that has any.
func (p *mimePart) words() string {
	switch {
	case p.kind == "text/html":
		return html.UnescapeString(withoutTags(string(p.decoded())))
	case strings.HasPrefix(p.kind, "text/") && p.kind != "text/rfc822-headers":
		return strings.ToValidUTF8(string(p.decoded()), "\uFFFD")
	case strings.HasPrefix(p.kind, "multipart/"):
		for i := range p.parts {
			if w := p.parts[i].words(); strings.TrimSpace(w) != "" {
				return w
			}
		}
	}
	return ""
}

// withoutTags drops what stands between < and >, and makes a line of each tag.
func withoutTags(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('\n')
		if _, s, found = strings.Cut(after, ">"); !found {
			return b.String()
		}
	}
}
