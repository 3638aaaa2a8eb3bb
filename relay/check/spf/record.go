// Package spf reads SPF records (RFC 7208) and follows all that they refer to.
//
// It does not evaluate one address as a receiver does. It answers what the owner of a domain must know: is
// there one valid record, how many lookups does it cost, which terms are wrong, and does mail from the
// networks of a provider pass. So a Tree is the whole record with its includes, walked to the end.
//
// Macros are recognised (RFC 7208, 7). Those that the domain alone decides are expanded (%{d}, %{o}); a term
// with any other is counted but not followed, because it depends on the message, and Tree.Unknown says so.
package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Record is one SPF record, read but not followed.
type Record struct {
	Text     string
	Terms    []Term // mechanisms, in their order
	Redirect string // domain-spec of the modifier; "" without one
	Exp      string // the same
}

// Term is one mechanism (RFC 7208, 4.6.1).
type Term struct {
	Text      string // as written
	Qualifier byte   // + - ~ ?
	Name      string // in lower case: all include a mx ptr ip4 ip6 exists
	Domain    string // domain-spec; "" where the current domain is meant
	Network   netip.Prefix
	Bits4     int // CIDR lengths of a and mx
	Bits6     int
}

// IsRecord reports whether a TXT record is an SPF record: the version and then a space or the end (RFC 7208,
// 4.5). The version is not case sensitive.
func IsRecord(txt string) bool {
	version, _, _ := strings.Cut(txt, " ")
	return strings.EqualFold(version, "v=spf1")
}

// Parse reads a record. The error names the first term that is wrong: receivers then give permerror (RFC
// 7208, 4.6), and no mail passes.
func Parse(txt string) (*Record, error) {
	if !IsRecord(txt) {
		return nil, fmt.Errorf("%q does not begin with v=spf1 and a space", txt)
	}
	r := &Record{Text: txt}
	for _, word := range strings.Split(txt, " ")[1:] {
		if word == "" {
			continue
		}
		if err := r.add(word); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add reads one term: a modifier has "=" behind its name, a mechanism has not (RFC 7208, 4.6.1).
func (r *Record) add(word string) error {
	end := strings.IndexAny(word, "=:/")
	if end > 0 && word[end] == '=' {
		return r.modifier(strings.ToLower(word[:end]), word[end+1:], word)
	}
	t, err := parseTerm(word)
	if err != nil {
		return fmt.Errorf("%q: %w", word, err)
	}
	r.Terms = append(r.Terms, t)
	return nil
}

// modifier reads a modifier. Unknown ones are ignored (RFC 7208, 6).
func (r *Record) modifier(name, value, word string) error {
	to := &r.Redirect
	switch name {
	case "redirect":
	case "exp":
		to = &r.Exp
	default:
		if !isName(name) {
			return fmt.Errorf("%q is neither a mechanism nor a modifier", word)
		}
		return checkMacros(value)
	}
	if *to != "" {
		return fmt.Errorf("%s= is there twice", name) // RFC 7208, 6
	}
	if err := checkDomain(value); err != nil {
		return fmt.Errorf("%q: %w", word, err)
	}
	*to = value
	return nil
}

// isName reports whether s is the name of a modifier (RFC 7208, 12).
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-_.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// parseTerm reads a mechanism.
func parseTerm(word string) (Term, error) {
	t := Term{Text: word, Qualifier: '+', Bits4: 32, Bits6: 128}
	rest := word
	if strings.ContainsRune("+-~?", rune(rest[0])) {
		t.Qualifier, rest = rest[0], rest[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	t.Name, rest = strings.ToLower(rest[:end]), rest[end:]
	switch t.Name {
	case "all":
		return t, expectNothing(rest)
	case "include", "exists":
		value, ok := strings.CutPrefix(rest, ":")
		if !ok {
			return t, fmt.Errorf("%s needs a domain: %s:example.com", t.Name, t.Name)
		}
		t.Domain = value
		return t, checkDomain(value)
	case "ip4", "ip6":
		return t, t.network(rest)
	case "ptr":
		return t, t.domain(rest)
	case "a", "mx":
		rest, err := t.lengths(rest)
		if err != nil {
			return t, err
		}
		return t, t.domain(rest)
	}
	return t, fmt.Errorf("there is no mechanism %q", t.Name)
}

func expectNothing(rest string) error {
	if rest != "" {
		return fmt.Errorf("%q is too much", rest)
	}
	return nil
}

// domain reads an optional ":domain-spec".
func (t *Term) domain(rest string) error {
	if rest == "" {
		return nil
	}
	value, ok := strings.CutPrefix(rest, ":")
	if !ok {
		return expectNothing(rest)
	}
	t.Domain = value
	return checkDomain(value)
}

// network reads the address of ip4 and ip6 (RFC 7208, 5.6).
func (t *Term) network(rest string) error {
	value := strings.TrimPrefix(rest, ":")
	if !strings.Contains(value, "/") && value != "" {
		bits := "/32"
		if t.Name == "ip6" {
			bits = "/128"
		}
		value += bits
	}
	p, err := netip.ParsePrefix(value)
	if err != nil || p.Addr().Is4() != (t.Name == "ip4") || !strings.HasPrefix(rest, ":") {
		return fmt.Errorf("%q is not an address or network of %s", strings.TrimPrefix(rest, ":"), t.Name)
	}
	t.Network = p.Masked()
	return nil
}

// lengths cuts the CIDR lengths "/24", "//64" or "/24//64" off (RFC 7208, 5.3).
func (t *Term) lengths(rest string) (string, error) {
	from := strings.LastIndexByte(rest, '}') + 1 // a delimiter in a macro may be a slash
	at := strings.IndexByte(rest[from:], '/')
	if at < 0 {
		return rest, nil
	}
	value := rest[from+at:]
	v4, v6, dual := strings.Cut(value[1:], "//")
	if strings.HasPrefix(value, "//") {
		v4, v6, dual = "", value[2:], true
	}
	var ok4, ok6 = true, true
	if v4 != "" || !dual {
		t.Bits4, ok4 = length(v4, 32)
	}
	if dual {
		t.Bits6, ok6 = length(v6, 128)
	}
	if !ok4 || !ok6 {
		return "", fmt.Errorf("%q is not a network length", value)
	}
	return rest[:from+at], nil
}

func length(s string, most int) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && int(n) <= most
}
