package dsn

import (
	"bytes"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"
)

// part is a body part, its content already encoded.
type part struct {
	header   header
	body     []byte
	eightBit bool
}

// textPart is a text in UTF-8, encoded only where it must be.
func textPart(mediaType, text string) part {
	text = crlf(text)
	p := part{body: []byte(text)}
	if fitsSevenBit(p.body) {
		p.header.add("Content-Type", mediaType+"; charset="+charset(text))
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

func charset(s string) string {
	if isASCII(s) {
		return "us-ascii"
	}
	return "utf-8"
}

// multipart joins parts. The boundary occurs in none of them: "=_" cannot stand in quoted-printable, and whatever else
// is returned is searched. If a part is 8bit so is the whole (RFC 2045, 6.4).
func multipart(mediaType, id string, parts []part) part {
	p := part{eightBit: slices.ContainsFunc(parts, func(p part) bool { return p.eightBit })}
	boundary := freeBoundary(id, parts)
	p.header.add("Content-Type", mediaType+`; boundary="`+boundary+`"`)
	if p.eightBit {
		p.header.add("Content-Transfer-Encoding", "8bit")
	}
	var b bytes.Buffer
	b.Grow(sizeOf(parts))
	for i := range parts {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("--" + boundary + "\r\n")
		parts[i].header.write(&b)
		b.WriteString("\r\n")
		b.Write(parts[i].body)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	p.body = b.Bytes()
	return p
}

// sizeOf is about what parts take in a message.
func sizeOf(parts []part) int {
	n := 0
	for i := range parts {
		n += len(parts[i].body) + 256
	}
	return n
}

// freeBoundary is a boundary that occurs in no part. It is the same for the same content.
func freeBoundary(id string, parts []part) string {
	for n := 1; ; n++ {
		boundary := "=_" + id + "_" + strconv.Itoa(n)
		taken := slices.ContainsFunc(parts, func(p part) bool { return bytes.Contains(p.body, []byte(boundary)) })
		if !taken {
			return boundary
		}
	}
}

// crlf makes every line end a CRLF and ends the last line.
func crlf(s string) string {
	if strings.Contains(s, "\r") {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// maxLine is the longest line of a message, without its end (RFC 5322, 2.1.1).
const maxLine = 998

// fitsSevenBit reports whether b can stand in a message as it is (RFC 2045, 2.7).
func fitsSevenBit(b []byte) bool { return isASCII(b) && fitsEightBit(b) }

// fitsEightBit reports whether b is made of lines that 8BITMIME takes (RFC 2045, 2.8): ended by CRLF, at most 998 bytes
// long, without NUL or a bare CR or LF.
func fitsEightBit(b []byte) bool {
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' {
				return false
			}
			line, b = b[:i-1], b[i+1:]
		} else {
			b = nil
		}
		if len(line) > maxLine || bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
			return false
		}
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
