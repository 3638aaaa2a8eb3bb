package dsn

import (
	"mime"
	"strings"
	"unicode/utf8"
)

// dateLayout writes RFC 5322 dates, with a numeric zone as RFC 3464, 2.2.5 asks.
const dateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// foldAt is the length beyond which a line is folded where it can be (RFC 5322, 2.1.1).
const foldAt = 78

// header is fields in order, as they are written: of the message itself, a body part, or a block of a
// delivery status.
type header struct{ text []byte }

// add appends a field; with an empty value it does nothing. The value holds no line ends: whoever calls has
// cleaned it.
func (h *header) add(name, value string) { h.addLines(name, value) }

// addLines appends a field whose value is written on as many lines (RFC 3461, 9.2), each folded further if
// it is long.
func (h *header) addLines(name string, lines ...string) {
	first := true
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		column := 0
		if first {
			h.text = append(append(h.text, name...), ':')
			column, first = len(name)+1, false
		} else {
			h.text = append(h.text, "\r\n"...)
		}
		h.text = fold(h.text, column, line)
	}
	if !first {
		h.text = append(h.text, "\r\n"...)
	}
}

// fold appends a space and s, breaking lines before a space. column is where it begins; nothing is added or
// lost but line ends, so unfolding gives s again (RFC 5322, 2.2.3).
func fold(b []byte, column int, s string) []byte {
	b = append(b, ' ')
	word := s[:nextBreak(s)]
	b = append(b, word...)
	column += 1 + len(word)
	for s = s[len(word):]; s != ""; s = s[len(word):] {
		word = s[:nextBreak(s)]
		if column+len(word) > foldAt {
			b = append(b, "\r\n"...)
			column = 0
		}
		b = append(b, word...)
		column += len(word)
	}
	return b
}

// nextBreak is the length of the spaces and the word at the start of s. A run of spaces is never broken: a
// line of spaces alone would end the header in the eyes of a careless reader.
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
