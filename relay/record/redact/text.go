package redact

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// address finds what looks like an address in a text (RFC 5321, 4.1.2; RFC 6531), as far as it can without
// knowing where it begins: quoted local parts, percent-encoded and xtext forms of "@" too, as in links.
var address = regexp.MustCompile("(\"[^\"\\r\\n]+\"|[\\pL\\pN!#$%&'*+/=?^_{|}~.`-]+)" +
	`(@|%40|\+40)(\[[0-9A-Za-z:.]+\]|[\pL\pN](?:[\pL\pN.-]*[\pL\pN])?)`)

// person is an address that an event is about.
type person struct {
	address, local string
	shown, name    string // what stands for the two
}

// people are the persons with addresses, each once.
func (r *Redactor) people(addresses []string) (list []person) {
	for i, a := range addresses {
		if a == "" || slices.Contains(addresses[:i], a) {
			continue
		}
		p := person{address: a, shown: r.Address(a)}
		if at := strings.LastIndexByte(a, '@'); at >= 0 {
			p.local = a[:at]
		}
		p.name, _, _ = strings.Cut(p.shown, "@")
		list = append(list, p)
	}
	return list
}

// text treats the addresses in a text: those that look like one, and the local parts of known ones where they
// stand alone, as in `<bob>... User unknown`.
func (r *Redactor) text(s string, known []person) string {
	if s == "" {
		return s
	}
	if strings.ContainsAny(s, "@%+") {
		s = address.ReplaceAllStringFunc(s, r.found)
	}
	for i := range known { // as they are, however odd
		s = replaceFold(s, known[i].address, known[i].shown)
	}
	for i := range known {
		s = known[i].alone(s)
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
func (p *person) alone(s string) string {
	local, name := p.local, p.name
	if len(local) < 2 || indexFold(s, local) < 0 {
		return s
	}
	odd := strings.ContainsFunc(local, func(c rune) bool { return !unicode.IsLetter(c) })
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

// indexFold is strings.Index where the case of ASCII letters does not matter.
func indexFold(s, part string) int {
	if part == "" {
		return 0
	}
	for i := 0; i+len(part) <= len(s); i++ {
		// Letters of ASCII differ in one bit; of others EqualFold may say so at any first byte.
		if near := (s[i]^part[0])&^0x20 == 0 || part[0] >= utf8.RuneSelf; near &&
			strings.EqualFold(s[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}

// replaceFold is strings.ReplaceAll where the case of letters does not matter.
func replaceFold(s, old, by string) string {
	if indexFold(s, old) < 0 {
		return s
	}
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
