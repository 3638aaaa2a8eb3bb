// Package list finds the mailboxes in the value of an address field (RFC 5322, 3.4) without changing a byte
// of it, so that whoever rewrites an address keeps names, comments and folding as they were written.
//
// It is lenient: what is in angle brackets counts as an address, and so does a mailbox that is a single word.
// Whether that is a valid one is not looked at. It never panics, and is linear in the length of the value.
package list

import "strings"

// maxMailboxes bounds the mailboxes of a value that are looked at.
const maxMailboxes = 4096

// Span is a part of a value.
type Span struct{ From, To int }

// Mailbox is one mailbox of a list.
type Mailbox struct {
	Whole Span // with its name and comments, without the blanks around it
	Spec  Span // the address
}

// Mailboxes are the mailboxes in v, those of groups too; none if a quoted string, a comment or an angle
// bracket does not end. A word sequence without an address is left out.
func Mailboxes(v []byte) (list []Mailbox) {
	var box mailbox
	for i := 0; i < len(v) && len(list) < maxMailboxes; {
		switch c := v[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case ',', ';', ':':
			if c != ':' { // what ends in a colon is the name of a group
				list = box.appendTo(list)
			}
			box = mailbox{}
			i++
			continue
		}
		end := tokenEnd(v, i)
		if end < 0 {
			return nil
		}
		box.take(v, Span{i, end})
		i = end
	}
	return box.appendTo(list)
}

// mailbox is a mailbox as far as it was read.
type mailbox struct {
	tokens int
	whole  Span
	words  int
	word   Span // the first
	angle  bool // there were angle brackets
	spec   Span // in the first of them
}

// take adds a token.
func (b *mailbox) take(v []byte, t Span) {
	if b.tokens++; b.tokens == 1 {
		b.whole.From = t.From
	}
	b.whole.To = t.To
	switch v[t.From] {
	case '(':
	case '<':
		if !b.angle {
			b.angle, b.spec = true, trim(v, Span{t.From + 1, t.To - 1})
		}
	default:
		if b.words++; b.words == 1 {
			b.word = t
		}
	}
}

// appendTo appends the mailbox, if it has an address.
func (b *mailbox) appendTo(list []Mailbox) []Mailbox {
	switch {
	case b.angle:
		return append(list, Mailbox{b.whole, b.spec})
	case b.words == 1:
		return append(list, Mailbox{b.whole, b.word})
	}
	return list
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
			if i = QuotedEnd(v, i); i < 0 {
				return -1
			}
			continue
		}
		i++
	}
	return i
}

// QuotedEnd is what follows the quoted string at i; -1 if it does not end.
func QuotedEnd(v []byte, i int) int {
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
			if i = QuotedEnd(v, i); i < 0 {
				return -1
			}
			i--
		case '>':
			return i + 1
		}
	}
	return -1
}

// trim leaves out the blanks around s.
func trim(v []byte, s Span) Span {
	for s.From < s.To && isBlank(v[s.From]) {
		s.From++
	}
	for s.To > s.From && isBlank(v[s.To-1]) {
		s.To--
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
