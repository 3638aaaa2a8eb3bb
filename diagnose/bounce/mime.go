package bounce

import (
	"bytes"
	"mime"
	"strings"
)

// part is a part of a message, where it stands in the file.
type part struct {
	doc     *document
	fields  header
	kind    string // media type, lower case
	file    []byte
	start   int // of the body in file, encoded as it is
	end     int
	parts   []part
	flat    bool   // a multipart whose boundary is not given or never occurs: one text
	foreign bool   // file is not the file that was read, but something decoded from it
	prose   *prose // what it says to a person, once that was asked for
}

// readPart reads the part that file[start:end] is. Of a message that came back, behind a delivery status,
// only the header is read.
func (d *document) readPart(file []byte, start, end, depth int, cameBack bool) part {
	p := d.readTop(file, start, end)
	kind, params := p.contentType()
	p.kind = kind
	switch {
	case !p.isMessage() && !p.isMultipart():
	case depth >= MaxDepth:
		d.beyond(LimitDepth)
	case p.isMessage():
		p.parts = []part{p.inside(depth, cameBack)}
	case params["boundary"] == "":
		p.flat = true
	default:
		p.readParts(params["boundary"], depth)
	}
	return p
}

// readTop reads the header of a part and takes the rest for its body.
func (d *document) readTop(file []byte, start, end int) part {
	d.parts++
	p := part{doc: d, file: file, end: end}
	p.fields, p.start = d.readHeader(file, start, end)
	return p
}

// readParts reads the parts of a multipart.
func (p *part) readParts(boundary string, depth int) {
	ranges, found := p.doc.split(p.file, p.start, p.end, boundary)
	p.flat = !found
	reported := false
	for _, s := range ranges {
		if p.doc.parts >= MaxParts {
			p.doc.beyond(LimitParts)
			return
		}
		c := p.doc.readPart(p.file, s[0], s[1], depth+1, reported)
		reported = reported || c.isStatus()
		p.parts = append(p.parts, c)
	}
}

// inside is the message that p holds. One that is encoded, as it should not be (RFC 2046, 5.2.1), is decoded.
func (p *part) inside(depth int, cameBack bool) part {
	file, start, end := p.file, p.start, p.end
	if p.encoding() != "" {
		file = p.decoded()
		start, end = 0, len(file)
	}
	var m part
	if cameBack {
		m = p.doc.readTop(file, start, end)
	} else {
		m = p.doc.readPart(file, start, end, depth+1, false)
	}
	if p.encoding() != "" {
		m.setForeign()
	}
	return m
}

// setForeign marks p and all in it as standing outside of the file.
func (p *part) setForeign() {
	p.foreign = true
	for i := range p.parts {
		p.parts[i].setForeign()
	}
}

func (p *part) isMultipart() bool { return strings.HasPrefix(p.kind, "multipart/") }

// isMessage reports whether p holds a whole message (RFC 2046, 5.2.1; RFC 6532, 3.7).
func (p *part) isMessage() bool { return p.kind == "message/rfc822" || p.kind == "message/global" }

// isHeader reports whether p is the header of a message (RFC 6522, 4; RFC 6533, 5).
func (p *part) isHeader() bool {
	return p.kind == "text/rfc822-headers" || p.kind == "message/rfc822-headers" ||
		p.kind == "message/global-headers"
}

// isFeedback reports whether p is a feedback report (RFC 5965, 2).
func (p *part) isFeedback() bool { return p.kind == "message/feedback-report" }

// isReceipt reports whether p is a disposition notification (RFC 8098, 3.1; RFC 6533, 7).
func (p *part) isReceipt() bool {
	return p.kind == "message/disposition-notification" || p.kind == "message/global-disposition-notification"
}

// isStatus reports whether p is a delivery status (RFC 3464, 2.1; RFC 6533, 3).
func (p *part) isStatus() bool {
	return p.kind == "message/delivery-status" || p.kind == "message/global-delivery-status"
}

// contentType is the media type with its parameters; text/plain where none is given or it cannot be read.
func (p *part) contentType() (string, map[string]string) {
	value := p.fields.line("Content-Type")
	kind, params, err := mime.ParseMediaType(value)
	if err == nil {
		return kind, params
	}
	kind, rest, _ := strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if !strings.Contains(kind, "/") {
		return "text/plain", nil
	}
	boundary, found := behindName(rest, "boundary=")
	if !found {
		return kind, nil
	}
	if quoted, ok := strings.CutPrefix(boundary, `"`); ok {
		boundary, _, _ = strings.Cut(quoted, `"`)
	} else {
		boundary, _, _ = strings.Cut(boundary, ";")
	}
	return kind, map[string]string{"boundary": strings.TrimSpace(boundary)}
}

// behindName is what stands in s behind a name, written in any case.
func behindName(s, name string) (string, bool) {
	for i := 0; i+len(name) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(name)], name) {
			return s[i+len(name):], true
		}
	}
	return "", false
}

// split finds the parts of a multipart body (RFC 2046, 5.1.1), at most one more than may be read, and whether
// the boundary occurs at all. The line end in front of a boundary belongs to it.
func (d *document) split(file []byte, start, end int, boundary string) (parts [][2]int, found bool) {
	mark := []byte("--" + boundary)
	from := -1
	for at := start; at < end && d.parts+len(parts) <= MaxParts; {
		next := d.lineEnd(file, at, end)
		line := bytes.TrimRight(file[at:next], " \t\r\n")
		if rest, ok := bytes.CutPrefix(line, mark); ok && (len(rest) == 0 || string(rest) == "--") {
			if from >= 0 {
				parts = append(parts, [2]int{from, max(from, at-len(lineBreak(file[start:at], "\n")))})
			}
			if from = next; len(rest) > 0 {
				return parts, true
			}
		}
		at = next
	}
	if from >= 0 && from < end {
		parts = append(parts, [2]int{from, end})
	}
	return parts, from >= 0
}
