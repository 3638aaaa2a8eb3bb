package dsn

import (
	"bytes"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"
)

// part is a body part, its content already encoded. A multipart has a boundary, and parts in place of a body.
type part struct {
	header   header
	body     []byte
	boundary string
	parts    []part
	eightBit bool
}

// textPart is a text in UTF-8, encoded only where it must be.
func textPart(mediaType, text string) part {
	p := part{body: crlf(text)}
	if fitsSevenBit(p.body) {
		p.header.add("Content-Type", mediaType+"; charset=us-ascii")
		p.header.add("Content-Transfer-Encoding", "7bit")
		return p
	}
	p.header.add("Content-Type", mediaType+"; charset=utf-8")
	p.quotedPrintable()
	return p
}

// quotedPrintable encodes the body (RFC 2045, 6.7); a body with bare line ends comes back with CRLF.
func (p *part) quotedPrintable() {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	w.Write(p.body) // never fails, as a bytes.Buffer does not
	w.Close()
	p.body = b.Bytes()
	p.header.add("Content-Transfer-Encoding", "quoted-printable")
}

// multipart joins parts. The boundary occurs in none of them: "=_" cannot stand in quoted-printable, and
// whatever else is returned is searched. If a part is 8bit so is the whole (RFC 2045, 6.4).
func multipart(mediaType, id string, parts []part) part {
	p := part{
		boundary: freeBoundary(id, parts), parts: parts,
		eightBit: slices.ContainsFunc(parts, func(p part) bool { return p.eightBit }),
	}
	p.header.add("Content-Type", mediaType+`; boundary="`+p.boundary+`"`)
	if p.eightBit {
		p.header.add("Content-Transfer-Encoding", "8bit")
	}
	return p
}

// write writes the part, with its header.
func (p *part) write(b *bytes.Buffer) {
	b.Write(p.header.text)
	b.WriteString("\r\n")
	if p.boundary == "" {
		b.Write(p.body)
		return
	}
	for i := range p.parts {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("--" + p.boundary + "\r\n")
		p.parts[i].write(b)
	}
	b.WriteString("\r\n--" + p.boundary + "--\r\n")
}

// size is about how many bytes write writes, and at least as many.
func (p *part) size() int {
	n := len(p.header.text) + len(p.body) + 16
	for i := range p.parts {
		n += p.parts[i].size() + len(p.boundary) + 8
	}
	return n + len(p.boundary)
}

// contains reports whether s occurs in what write writes between the boundaries.
func (p *part) contains(s []byte) bool {
	return bytes.Contains(p.body, s) || bytes.Contains(p.header.text, s) ||
		slices.ContainsFunc(p.parts, func(p part) bool { return p.contains(s) })
}

// freeBoundary is a boundary that occurs in no part. It is the same for the same content.
func freeBoundary(id string, parts []part) string {
	for n := 1; ; n++ {
		boundary := "=_" + id + "_" + strconv.Itoa(n)
		if !slices.ContainsFunc(parts, func(p part) bool { return p.contains([]byte(boundary)) }) {
			return boundary
		}
	}
}

// crlf makes every line end a CRLF and ends the last line.
func crlf(s string) []byte {
	if strings.Contains(s, "\r") {
		s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	}
	b := make([]byte, 0, len(s)+len(s)/16+16)
	for s != "" {
		line, rest, _ := strings.Cut(s, "\n")
		b = append(append(b, line...), "\r\n"...)
		s = rest
	}
	return b
}

// maxLine is the longest line of a message, without its end (RFC 5322, 2.1.1).
const maxLine = 998

// fitsSevenBit reports whether b can stand in a message as it is (RFC 2045, 2.7).
func fitsSevenBit(b []byte) bool { return isASCII(b) && fitsEightBit(b) }

// fitsEightBit reports whether b is made of lines that 8BITMIME takes (RFC 2045, 2.8): ended by CRLF, at
// most 998 bytes long, without NUL or a bare CR or LF.
func fitsEightBit(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 || bytes.Count(b, []byte("\r")) != bytes.Count(b, []byte("\n")) {
		return false
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return len(b) <= maxLine
		}
		if i == 0 || b[i-1] != '\r' || i-1 > maxLine {
			return false
		}
		b = b[i+1:]
	}
	return true
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
