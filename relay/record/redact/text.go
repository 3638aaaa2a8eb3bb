package redact

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// address finds what looks like an address in a text (RFC 5321, 4.1.2; RFC 6531), as far as it can without
// knowing where it begins: quoted local parts, percent-encoded and xtext forms of "@" too, as in links.
var address = regexp.MustCompile("(\"[^\"\\r\\n]{1,64}\"|[\\pL\\pN!#$%&'*+/=?^_{|}~.`-]{1,128})" +
	`(@|%40|\+40)(\[[0-9A-Za-z:.]{3,64}\]|[\pL\pN](?:[\pL\pN.-]{0,253}[\pL\pN])?)`)

// text treats the addresses in a text: those that look like one, and the local parts of known ones where they
// stand alone, as in `<bob>... User unknown`.
func (r *Redactor) text(s string, known []string) string {
	if s == "" {
		return s
	}
	if strings.ContainsAny(s, "@%+") {
		s = address.ReplaceAllStringFunc(s, r.found)
	}
	for _, k := range known { // as they are, however odd
		if k != "" {
			s = replaceFold(s, k, r.Address(k))
		}
	}
	for _, k := range known {
		if local, _, ok := cutLast(k); ok {
			s = r.alone(s, k, local)
		}
	}
	return s
}

// found treats what looks like an address.
func (r *Redactor) found(s string) string {
	m := address.FindStringSubmatchIndex(s)
	local, sign, domain := s[m[2]:m[3]], s[m[4]:m[5]], s[m[6]:m[7]]
	lead := "" // of a link, say: ?email=bob%40example.com
	if i := strings.LastIndexAny(local, "/?&"); i >= 0 && local[0] != '"' {
		lead, local = local[:i+1], local[i+1:]
		if name, value, ok := strings.Cut(local, "="); ok && local != "" && lead[i] != '/' {
			lead, local = lead+name+"=", value
		}
	}
	if local == "" {
		return s
	}
	name, _, _ := strings.Cut(r.Address(local+"@"+domain), "@")
	return lead + name + sign + domain
}

// alone treats the local part of a known address where it stands by itself: in brackets or quotes, or as a
// word that is not an ordinary one, since it has a digit or a mark in it.
func (r *Redactor) alone(s, known, local string) string {
	odd := strings.ContainsFunc(local, func(c rune) bool { return !unicode.IsLetter(c) })
	if len(local) < 2 {
		return s
	}
	name, _, _ := strings.Cut(r.Address(known), "@")
	var b strings.Builder
	for rest := s; ; {
		i := indexFold(rest, local)
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		before, _ := utf8.DecodeLastRuneInString(s[:len(s)-len(rest)+i])
		after, _ := utf8.DecodeRuneInString(rest[i+len(local):])
		b.WriteString(rest[:i])
		if quoted(before, after) || odd && bounds(before) && bounds(after) {
			b.WriteString(name)
		} else {
			b.WriteString(rest[i : i+len(local)])
		}
		rest = rest[i+len(local):]
	}
}

// quoted reports whether a word stands between brackets or quotes.
func quoted(before, after rune) bool {
	return strings.ContainsRune(`<("'[`, before) && strings.ContainsRune(`>)"']`, after)
}

// bounds reports whether a word ends at a character.
func bounds(r rune) bool {
	return r == utf8.RuneError ||
		!unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("@-*", r)
}

// cutLast is the local part and the domain of an address.
func cutLast(a string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(a, '@')
	if i < 0 {
		return "", "", false
	}
	return a[:i], a[i+1:], true
}

// indexFold is strings.Index where the case of ASCII letters does not matter.
func indexFold(s, part string) int {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}

// replaceFold is strings.ReplaceAll where the case of letters does not matter.
func replaceFold(s, old, by string) string {
	var b strings.Builder
	for {
		i := indexFold(s, old)
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		b.WriteString(by)
		s = s[i+len(old):]
	}
}
