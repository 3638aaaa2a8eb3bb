// Package clean makes safe text of bytes that a stranger wrote: HELO names, replies, headers, file names.
// Whatever reaches a Received line, a log, a DSN or a terminal and did not come from us passes through here
// first.
//
// What always holds: the result is one line of valid UTF-8, without controls and without characters that
// reorder or hide text, and not longer than asked for.
package clean

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one safe line of at most max bytes. Controls, line and paragraph separators,
// bidirectional and other invisible format characters become "?", tabs a space, and bytes that are no UTF-8
// U+FFFD.
func Line(s string, max int) string {
	return mapped(s, max, func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case hides(r):
			return '?'
		}
		return r
	})
}

// Hides reports whether s has a character above ASCII that Line would not leave as it is: a control of ISO
// 6429, which terminals obey, a bidirectional or other invisible format character, a line or paragraph
// separator.
func Hides(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf && hides(r) })
}

func hides(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// ASCII returns s as one line of at most max bytes of printable ASCII; whatever else it holds becomes "?",
// each character one.
func ASCII(s string, max int) string {
	return mapped(s, max, func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	})
}

// mapped writes f of each character of s until max bytes are full. It looks at no more of s than it needs.
func mapped(s string, max int, f func(rune) rune) string {
	if len(s) <= max && plain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		r = f(r)
		if b.Len()+utf8.RuneLen(r) > max {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain reports whether s is printable ASCII, as nearly all is: f leaves that as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
