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

	completed, quoted bool // what it has done
}

// mend returns the value of an address field with "@" and the domain after each address without one, and
// with quotes around each local part whose dots RFC 5322 does not allow. All other bytes stay as they are:
// comments, names, folding. So does a value that is not an address list, a name without an address, and an
// encoded word.
func (a *addressMender) mend(value []byte) []byte {
	var out []byte
	at := 0 // value up to here is in out
	for _, s := range list.Mailboxes(value) {
		spec := value[s.Spec.From:s.Spec.To]
		local, complete, ok := cutLocal(spec)
		if !ok || !oddDots(local) && (complete || a.domain == "") || a.left <= 0 {
			continue
		}
		a.left--
		out = append(out, value[at:s.Spec.From]...)
		at = s.Spec.To
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

// cutLocal is the local part of an address as it is written; complete says that a domain follows. ok is
// false for anything else than a local part with or without a domain.
func cutLocal(spec []byte) (local []byte, complete, ok bool) {
	n := 0
	if len(spec) > 0 && spec[0] == '"' {
		n = list.QuotedEnd(spec, 0)
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
