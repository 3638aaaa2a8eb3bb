package redact

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailwhy/relay/record"
)

// Finder returns a function that reports whether an event mentions an address, whose case does not matter: as
// sender, recipient or suppressed address, or in any text. It finds the address in full and as Hash writes it
// with the Redactor's key, whatever the mode; what Domain wrote does not say whose it is, and is not found.
// The function is safe for concurrent use.
func (r *Redactor) Finder(address string) func(*record.Event) bool {
	forms := []string{address}
	if r != nil && len(r.key) > 0 {
		forms = append(forms, r.hashed(address))
	}
	written := slices.Clone(forms)
	for _, f := range forms { // as text finds them, in links say
		written = append(written, strings.ReplaceAll(f, "@", "%40"), strings.ReplaceAll(f, "@", "+40"))
	}
	return func(e *record.Event) bool {
		found := false
		is := func(s string) string {
			for _, f := range forms {
				found = found || strings.EqualFold(s, f)
			}
			return s
		}
		in := func(s string) string {
			found = found || stands(s, written)
			return s
		}
		c := *e
		treatment{address: is, messageID: in, text: in}.event(&c)
		return found
	}
}

// stands reports whether one of some addresses stands in a text, and not only as a part of a longer one.
func stands(s string, addresses []string) bool {
	if !strings.ContainsAny(s, "@%+") {
		return false
	}
	for _, a := range addresses {
		for rest := s; ; {
			i := indexFold(rest, a)
			if i < 0 {
				break
			}
			at := len(s) - len(rest) + i
			if begins(s[:at]) && ends(s[at+len(a):]) {
				return true
			}
			rest = rest[i+1:]
		}
	}
	return false
}

// begins reports whether an address can begin after a text: bob@x.test is not in jim.bob@x.test.
func begins(before string) bool {
	if n := len(before); n >= 3 && before[n-3] == '%' {
		return true // an encoded character of a link
	}
	c, _ := utf8.DecodeLastRuneInString(before)
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("._+-", c)
}

// ends reports whether an address can end before a text: bob@x.test is not in bob@x.test.example, but at the
// end of a sentence.
func ends(after string) bool {
	c, _ := utf8.DecodeRuneInString(strings.TrimPrefix(after, "."))
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.HasPrefix(after, "-")
}
