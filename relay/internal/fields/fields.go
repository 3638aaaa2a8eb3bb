// Package fields finds the fields in a header as they are sent (RFC 5322, 2.2): lines that end in CRLF, and
// their continuations. It changes nothing and keeps no memory.
package fields

import (
	"bytes"
	"strings"
)

// End is the length of the field at the start of b, with its continuation lines and the line end; 0 if
// the end is not there yet. Nothing follows b if eof.
func End(b []byte, eof bool) int {
	for n := 0; ; {
		i := bytes.Index(b[n:], []byte("\r\n"))
		if i < 0 && eof {
			return len(b)
		}
		if i < 0 {
			return 0
		}
		n += i + 2
		if n < len(b) && b[n] != ' ' && b[n] != '\t' || n == len(b) && eof {
			return n
		}
		if n == len(b) {
			return 0
		}
	}
}

// Name is the name of a field, in lower case; "" if b does not begin with one.
func Name(b []byte) string { return strings.ToLower(string(RawName(b))) }

// RawName is the name of a field; nil if b does not begin with one: printable ASCII, then perhaps blanks,
// then a colon (RFC 5322, 2.2 and 4.5).
func RawName(b []byte) []byte {
	i := 0
	for i < len(b) && b[i] > ' ' && b[i] < 0x7f && b[i] != ':' {
		i++
	}
	rest := bytes.TrimLeft(b[i:], " \t")
	if i == 0 || len(rest) == 0 || rest[0] != ':' {
		return nil
	}
	return b[:i]
}

// Signed are the names in the h= tag of a signature (RFC 6376, 3.5), in lower case.
func Signed(value string) (names []string) {
	for tag := range strings.SplitSeq(value, ";") {
		key, list, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(key) != "h" {
			continue
		}
		for name := range strings.SplitSeq(list, ":") {
			names = append(names, strings.ToLower(strings.TrimSpace(name)))
		}
	}
	return names
}

// Simple reports whether a signature covers fields as they are written, with the blanks before their colons
// (RFC 6376, 3.4.1 and the c= tag of 3.5).
func Simple(value string) bool {
	for tag := range strings.SplitSeq(value, ";") {
		if key, text, _ := strings.Cut(tag, "="); strings.TrimSpace(key) == "c" {
			header, _, _ := strings.Cut(text, "/")
			return strings.TrimSpace(header) != "relaxed"
		}
	}
	return true
}
