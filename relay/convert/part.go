package convert

import (
	"bytes"
	"strings"
)

// kind is what the body of a part is made of.
type kind int

const (
	kindLeaf kind = iota
	kindMultipart
	kindMessage // a message with a header of its own (RFC 2046, 5.2.1; RFC 6532, 3.7)
)

// encoding is a Content-Transfer-Encoding (RFC 2045, 6.1).
type encoding string

// The encodings. Any other is not known.
const (
	sevenBit        encoding = "7bit"
	eightBit        encoding = "8bit"
	binary          encoding = "binary"
	quotedPrintable encoding = "quoted-printable"
	base64          encoding = "base64"
)

// part is a part of a content, as its header says.
type part struct {
	n        int // its number, in the order of the content
	kind     kind
	subtype  string // in lower case
	boundary string // of a multipart

	text    bool // its type is text/..., or it has none
	typed   bool // it has a Content-Type
	mime    bool // it has a MIME-Version
	root    bool // it is a message, and not a part of a multipart
	frozen  bool // nothing in it may change (multipart/signed)
	whole   bool // it may be 7bit only, and not be encoded (RFC 2046, 5.2.2 and 5.2.3)
	encoded encoding

	parts int // that were found in a multipart so far
}

// newPart reads the header of a part.
func newPart(h []byte, parent *part, n int) *part {
	p := &part{n: n, text: true, encoded: sevenBit, root: parent == nil || parent.kind == kindMessage}
	p.frozen = parent != nil && (parent.frozen || parent.kind == kindMultipart && parent.subtype == "signed")
	if parent != nil && parent.kind == kindMultipart && parent.subtype == "digest" {
		p.text, p.kind = false, kindMessage // RFC 2046, 5.1.5
	}
	labelled := false
	eachField(h, func(name string, field []byte) {
		value := unfolded(field)
		switch {
		case name == "content-type" && !p.typed: // of several the first counts, as it does for readers
			p.setType(value)
		case name == "content-transfer-encoding" && !labelled:
			p.encoded, labelled = encodingOf(value), true
		case name == "mime-version":
			p.mime = true
		}
	})
	if p.kind != kindLeaf && p.encoded != sevenBit && p.encoded != eightBit && p.encoded != binary {
		p.kind, p.whole = kindLeaf, true // an encoded multipart or message: RFC 2045, 6.4, forbids it
	}
	return p
}

// setType reads a Content-Type. A multipart without a boundary has no parts that can be found, so it is read
// as a leaf.
func (p *part) setType(value string) {
	full, params := readType(value)
	boundary := strings.TrimRight(params["boundary"], " \t") // it never ends with a blank (RFC 2046, 5.1.1)
	major, minor, _ := strings.Cut(full, "/")
	p.typed, p.text, p.kind, p.subtype = true, major == "text", kindLeaf, minor
	switch {
	case major == "multipart" && boundary != "" && ascii(boundary):
		p.kind, p.boundary = kindMultipart, boundary
	case major == "multipart":
		p.whole = true
	case major == "message" && (minor == "rfc822" || minor == "global"):
		p.kind = kindMessage
	case major == "message" && strings.HasPrefix(minor, "global-"):
		p.text = true // these may be encoded (RFC 6533)
	case major == "message":
		p.whole = true
	}
}

// eachField calls each for every field of a header, with its name in lower case, or "" for what is none, and
// all of its lines.
func eachField(h []byte, each func(name string, field []byte)) {
	for len(h) > 0 {
		n := fieldLength(h)
		name, _, ok := bytes.Cut(h[:n], []byte(":"))
		if name = bytes.TrimRight(name, " \t"); !ok || bytes.ContainsAny(name, " \t\r\n") {
			name = nil
		}
		each(strings.ToLower(string(name)), h[:n])
		h = h[n:]
	}
}

// fieldLength is the length of the field at the start of h, with its continuation lines (RFC 5322, 2.2.3).
func fieldLength(h []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(h[n:], '\n')
		if i < 0 {
			return len(h)
		}
		if n += i + 1; n == len(h) || h[n] != ' ' && h[n] != '\t' {
			return n
		}
	}
}

// unfolded is the value of a field on one line.
func unfolded(field []byte) string {
	_, value, _ := bytes.Cut(field, []byte(":"))
	value = bytes.ReplaceAll(bytes.ReplaceAll(value, []byte("\r"), nil), []byte("\n"), nil)
	return strings.Trim(string(value), " \t")
}

// ascii reports whether s has no byte above 127.
func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
