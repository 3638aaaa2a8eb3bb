package content

import (
	"bytes"
	"strings"

	"mailwhy/relay/internal/address/list"
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

// addressMender mends the addresses of fields.
type addressMender struct {
	domain string // completes those without one; empty: they stay
	left   int    // how many it may still mend

	completed, quoted, undotted bool // what it has done
}

// mend returns the value of an address field with "@" and the domain after each address without one, with
// quotes around each local part whose dots RFC 5322 does not allow, and without the dot at the end of a
// domain. All other bytes stay as they are: comments, names, folding. So does a value that is not an address
// list, a name without an address, and an encoded word.
func (a *addressMender) mend(value []byte) []byte {
	var out []byte
	at := 0 // value up to here is in out
	for _, s := range list.Mailboxes(value) {
		fixed := a.fix(value[s.Spec.From:s.Spec.To])
		if fixed == nil {
			continue
		}
		a.left--
		out = append(append(out, value[at:s.Spec.From]...), fixed...)
		at = s.Spec.To
	}
	if at == 0 {
		return value
	}
	return append(out, value[at:]...)
}

// fix returns an address as it should be; nil if it stays.
func (a *addressMender) fix(spec []byte) (fixed []byte) {
	local, domain, ok := cutLocal(spec)
	complete := len(domain) == 0 && a.domain != ""
	quote, undot := oddDots(local), endsInDot(domain)
	if !ok || !complete && !quote && !undot || a.left <= 0 {
		return nil
	}
	a.completed, a.quoted, a.undotted = a.completed || complete, a.quoted || quote, a.undotted || undot
	if quote {
		fixed = append(append(append(fixed, '"'), local...), '"')
	} else {
		fixed = append(fixed, local...)
	}
	switch {
	case complete:
		return append(append(fixed, '@'), a.domain...)
	case undot:
		return append(fixed, domain[:len(domain)-1]...)
	}
	return append(fixed, domain...)
}

// cutLocal cuts an address behind its local part as it is written. domain begins with the at sign, and is
// empty if there is none. ok is false for anything else than a local part with or without a domain.
func cutLocal(spec []byte) (local, domain []byte, ok bool) {
	n := 0
	if len(spec) > 0 && spec[0] == '"' {
		n = list.QuotedEnd(spec, 0)
	} else {
		for n < len(spec) && isLocal(spec[n]) {
			n++
		}
	}
	if n <= 0 || n < len(spec) && spec[n] != '@' || encodedWord(spec[:n]) || string(spec[:n]) == `""` {
		return nil, nil, false
	}
	return spec[:n], spec[n:], true
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
	return len(local) > 0 && local[0] != '"' && (local[0] == '.' || local[len(local)-1] == '.' ||
		bytes.Contains(local, []byte("..")))
}

// endsInDot reports whether a domain behind its at sign ends in a dot, as those of zone files do.
func endsInDot(domain []byte) bool {
	name, dot := bytes.CutSuffix(domain, []byte("."))
	return dot && len(name) > 1 && name[len(name)-1] != '.'
}
