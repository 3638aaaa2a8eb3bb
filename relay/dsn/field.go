package dsn

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"
)

// dateLayout writes RFC 5322 dates, with a numeric zone as RFC 3464, 2.2.5 asks.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// foldAt is the length beyond which a line is folded where it can be (RFC 5322, 2.1.1).
const foldAt = 78

// header is a list of fields in order, for the message itself, a body part, or a block of a delivery status.
type header struct{ fields []string }

// add appends a field; with an empty value it does nothing. The value holds no line ends: whoever calls has cleaned it.
func (h *header) add(name, value string) { h.addLines(name, []string{value}) }

// addLines appends a field whose value is written on as many lines (RFC 3461, 9.2), each folded further if it is long.
func (h *header) addLines(name string, lines []string) {
	var b strings.Builder
	b.Grow(128)
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case b.Len() == 0:
			b.WriteString(name + ":")
			fold(&b, len(name)+1, " "+line)
		default:
			b.WriteString("\r\n")
			fold(&b, 0, " "+line)
		}
	}
	if b.Len() > 0 {
		b.WriteString("\r\n")
		h.fields = append(h.fields, b.String())
	}
}

// fold writes s, which begins with a space, breaking lines before a space. column is where it begins; nothing is added
// or lost but line ends, so unfolding gives s again (RFC 5322, 2.2.3).
func fold(b *strings.Builder, column int, s string) {
	start := column
	for s != "" {
		word := s[:nextBreak(s)]
		if column > start && column+len(word) > foldAt {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(word)
		column += len(word)
		s = s[len(word):]
	}
}

// nextBreak is the length of the spaces and the word at the start of s. A run of spaces is never broken: a line of
// spaces alone would end the header in the eyes of a careless reader.
func nextBreak(s string) int {
	i := 0
	for i < len(s) && s[i] == ' ' {
		i++
	}
	for i < len(s) && s[i] != ' ' {
		i++
	}
	return i
}

// write writes the fields.
func (h *header) write(b *bytes.Buffer) {
	for _, f := range h.fields {
		b.WriteString(f)
	}
}

// encodedWords writes s for an unstructured field (RFC 2047).
func encodedWords(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if isASCII(s) {
		return strings.ReplaceAll(s, "=?", "= ?") // not to be taken for what it is not
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// ellipsis cuts s to at most max bytes, at a character, and marks the cut.
func ellipsis(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 3 && !utf8.RuneStart(s[max-3]) {
		max--
	}
	return s[:max-3] + "..."
}
