package content

import (
	"bytes"
	"strings"
)

// addressField reports whether a field holds addresses that are completed (RFC 5322, 3.6.2 and 3.6.3).
func addressField(name string) bool {
	switch name {
	case "from", "sender", "reply-to", "to", "cc":
		return true
	}
	return false
}

// maxAddresses bounds the addresses of a message that are mended.
const maxAddresses = 1000

// maxSpecs bounds the addresses of a field that are looked at.
const maxSpecs = 4096

// addressMender mends the addresses of fields.
type addressMender struct {
	domain string // completes those without one; empty: they stay
	left   int    // how many it may still mend

	completed, quoted bool // what it has done
}

// mend returns the value of an address field with "@" and the domain after each address without one, and
// with quotes around each local part whose dots RFC 5322 does not allow. All other bytes stay as they are:
// comments, names, folding. So does a value that is not an address list, a name without an address, and an
// encoded word.
func (a *addressMender) mend(value []byte) []byte {
	var out []byte
	at := 0 // value up to here is in out
	for _, s := range addressSpecs(value) {
		spec := value[s.from:s.to]
		local, complete, ok := cutLocal(spec)
		if !ok || !oddDots(local) && (complete || a.domain == "") || a.left <= 0 {
			continue
		}
		a.left--
		out = append(out, value[at:s.from]...)
		at = s.to
		if oddDots(local) {
			out = append(append(append(append(out, '"'), local...), '"'), spec[len(local):]...)
			a.quoted = true
		} else {
			out = append(out, spec...)
		}
		if !complete && a.domain != "" {
			out = append(append(out, '@'), a.domain...)
			a.completed = true
		}
	}
	if at == 0 {
		return value
	}
	return append(out, value[at:]...)
}

// span is a part of a value.
type span struct{ from, to int }

// addressSpecs finds the addresses in an address list (RFC 5322, 3.4): what is in angle brackets, or a
// mailbox that is a single word. It finds none if a quoted string, a comment or a bracket does not end.
func addressSpecs(v []byte) (specs []span) {
	var box mailbox
	for i := 0; i < len(v) && len(specs) < maxSpecs; {
		switch c := v[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case ',', ';', ':':
			if c != ':' { // what ends in a colon is the name of a group
				specs = box.appendTo(specs)
			}
			box = mailbox{}
			i++
			continue
		}
		end := tokenEnd(v, i)
		if end < 0 {
			return nil
		}
		box.take(v, span{i, end})
		i = end
	}
	return box.appendTo(specs)
}

// mailbox is a mailbox as far as it was read.
type mailbox struct {
	words int
	word  span // the first
	angle bool // there were angle brackets
	spec  span // in the first of them
}

// take adds a token.
func (b *mailbox) take(v []byte, t span) {
	switch v[t.from] {
	case '(':
	case '<':
		if !b.angle {
			b.angle, b.spec = true, trimSpan(v, span{t.from + 1, t.to - 1})
		}
	default:
		if b.words++; b.words == 1 {
			b.word = t
		}
	}
}

// appendTo appends the address of the mailbox, if it has one.
func (b *mailbox) appendTo(specs []span) []span {
	switch {
	case b.angle:
		return append(specs, b.spec)
	case b.words == 1:
		return append(specs, b.word)
	}
	return specs
}

// tokenEnd is what follows the comment, the angle brackets or the word at i; -1 if it does not end.
func tokenEnd(v []byte, i int) int {
	switch v[i] {
	case '(':
		return commentEnd(v, i)
	case '<':
		return angleEnd(v, i)
	}
	return wordEnd(v, i)
}

// wordEnd is the end of the run of atoms, dots, at signs and quoted strings at i; -1 if a string is open.
func wordEnd(v []byte, i int) int {
	for i < len(v) && strings.IndexByte(" \t\r\n(<,;:", v[i]) < 0 {
		if v[i] == '"' {
			if i = quotedEnd(v, i); i < 0 {
				return -1
			}
			continue
		}
		i++
	}
	return i
}

// quotedEnd is what follows the quoted string at i; -1 if it does not end.
func quotedEnd(v []byte, i int) int {
	for i++; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// commentEnd is what follows the comment at i; -1 if it does not end. Comments nest.
func commentEnd(v []byte, i int) int {
	for depth := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// angleEnd is what follows the angle brackets at i; -1 if they do not end.
func angleEnd(v []byte, i int) int {
	for i++; i < len(v); i++ {
		switch v[i] {
		case '"':
			if i = quotedEnd(v, i); i < 0 {
				return -1
			}
			i--
		case '>':
			return i + 1
		}
	}
	return -1
}

// trimSpan leaves out the blanks around s.
func trimSpan(v []byte, s span) span {
	for s.from < s.to && isBlank(v[s.from]) {
		s.from++
	}
	for s.to > s.from && isBlank(v[s.to-1]) {
		s.to--
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// cutLocal is the local part of an address as it is written; complete says that a domain follows. ok is
// false for anything else than a local part with or without a domain.
func cutLocal(spec []byte) (local []byte, complete, ok bool) {
	n := 0
	if len(spec) > 0 && spec[0] == '"' {
		n = quotedEnd(spec, 0)
	} else {
		for n < len(spec) && isLocal(spec[n]) {
			n++
		}
	}
	if n <= 0 || n < len(spec) && spec[n] != '@' || encodedWord(spec[:n]) {
		return nil, false, false
	}
	return spec[:n], n < len(spec), true
}

// isLocal reports whether c may stand in a local part without quotes (RFC 5322, 3.2.3; RFC 6532, 3.2).
func isLocal(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte(`()<>[]:;@\,"`, c) < 0
}

// encodedWord reports whether an atom is an encoded word (RFC 2047, 2), which only names may be.
func encodedWord(atom []byte) bool {
	return bytes.HasPrefix(atom, []byte("=?")) && bytes.HasSuffix(atom, []byte("?="))
}

// oddDots reports whether a local part has dots where a dot-atom may not have them.
func oddDots(local []byte) bool {
	return local[0] != '"' && (local[0] == '.' || local[len(local)-1] == '.' ||
		bytes.Contains(local, []byte("..")))
}
