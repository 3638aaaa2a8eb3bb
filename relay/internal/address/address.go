// Package address reads and writes the mailbox of an SMTP path (RFC 5321, 4.1.2; RFC 6531, 3.3).
//
// The front door parses every address that a client names; the upstream side and the DSN composer take
// addresses apart again. What always holds: Parse accepts nothing that could end a path early or start
// another line (controls, NUL, line ends, an unquoted space or angle bracket), no character that hides or
// reorders others wherever it is shown, and what it returns is in one form, so that Parse of it is the
// identity.
//
// Where Parse is lenient: a domain label may hold underscores, because container names do; a local part may
// have dots in odd places without quotes, because mailboxes of Japanese telephone companies do; a domain may
// end in a dot; and A-labels are not decoded to be checked. Where it is strict: an empty quoted local part,
// which the grammar allows, is refused, as no mailbox has it.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The limits of RFC 5321, 4.5.3.1, in bytes.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxTotal  = 254 // a path is 256 with its angle brackets
)

// The errors of Parse.
var (
	// ErrSyntax is returned for what is not a mailbox.
	ErrSyntax = errors.New("malformed address")
	// ErrTooLong is returned when the local part, the domain or the whole exceeds its limit.
	ErrTooLong = errors.New("address too long")
	// ErrHidden is returned for an address with a character that cannot be seen, or that reorders or hides
	// others.
	ErrHidden = syntax("it contains an invisible or control character")
	// ErrNonASCII is returned for an internationalized address where SMTPUTF8 was not asked for.
	ErrNonASCII = errors.New("address is not ASCII and SMTPUTF8 was not asked for")
)

// syntax is the ErrSyntax of something that is wrong.
func syntax(what string) error { return fmt.Errorf("%w: %s", ErrSyntax, what) }

// Why says what is wrong with an address for which Parse returned err, in words that follow it.
func Why(err error) string {
	if err == ErrSyntax {
		return "it is not an address"
	}
	return strings.TrimPrefix(err.Error(), ErrSyntax.Error()+": ")
}

// Parse checks the mailbox s, given without angle brackets, and returns it in its one form: the local part
// quoted only where it must be, the domain as it was written, but for a dot at its end. Non-ASCII is
// allowed only with smtputf8.
func Parse(s string, smtputf8 bool) (string, error) {
	if !utf8.ValidString(s) {
		return "", syntax("it is not valid UTF-8")
	}
	if !smtputf8 && !IsASCII(s) {
		return "", ErrNonASCII
	}
	if strings.ContainsFunc(s, hides) {
		return "", ErrHidden
	}
	local, rest, err := cutLocal(s)
	if err != nil {
		return "", err
	}
	domain, ok := strings.CutPrefix(rest, "@")
	if !ok {
		return "", syntax("an @ must follow the quoted local part")
	}
	domain = strings.TrimSuffix(domain, ".")
	if err := checkDomain(domain); err != nil {
		return "", err
	}
	quoted := Quote(local)
	if len(quoted) > MaxLocal || len(quoted)+1+len(domain) > MaxTotal {
		return "", ErrTooLong
	}
	return quoted + "@" + domain, nil
}

// Split takes apart an address that Parse returned: the local part as written, quotes included, and the
// domain. A string without a domain is all local part.
func Split(addr string) (local, domain string) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, ""
	}
	return addr[:i], addr[i+1:]
}

// Domain is the domain of an address that Parse returned, in lower case; "" for the null sender.
func Domain(addr string) string {
	_, domain := Split(addr)
	return strings.ToLower(domain)
}

// ASCII returns addr with its domain in A-labels; ok is false when that is not enough, because the local
// part itself is not ASCII or the domain cannot be converted.
func ASCII(addr string) (s string, ok bool) {
	local, domain := Split(addr)
	if !IsASCII(local) {
		return "", false
	}
	if IsASCII(domain) {
		return addr, true
	}
	domain, err := ToASCII(domain)
	return local + "@" + domain, err == nil
}

// ToASCII converts a domain to A-labels (RFC 5891, 5). An ASCII domain is returned as it is, an address
// literal too.
func ToASCII(domain string) (string, error) {
	if IsASCII(domain) {
		return domain, nil
	}
	return idnaProfile().ToASCII(domain)
}

// IsASCII reports whether s has no byte above 127.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Quote writes an unquoted local part as it goes into a path: bare if it is a dot-string, else as a quoted
// string with no more escapes than it needs (RFC 5321, 4.1.2).
func Quote(local string) string {
	if isDotString(local) {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// cutLocal reads the local part at the start of s and returns it without quotes, and what follows it.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s[1:])
	}
	i := strings.IndexByte(s, '@')
	switch {
	case i < 0:
		return "", "", syntax("it has no @")
	case i == 0:
		return "", "", syntax("nothing stands before the @")
	}
	odd := strings.IndexFunc(s[:i], func(r rune) bool {
		return r < utf8.RuneSelf && r != '.' && !isAtext(byte(r))
	})
	if odd >= 0 {
		return "", "", syntax(fmt.Sprintf("%q is allowed in quotes only", s[odd]))
	}
	return s[:i], s[i:], nil
}

// cutQuoted reads a quoted string whose opening quote is already gone.
func cutQuoted(s string) (content, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			if b.Len() == 0 {
				return "", "", syntax("the quotes are empty")
			}
			return b.String(), s[i+1:], nil
		}
		if c == '\\' {
			i++
			if i == len(s) || s[i] >= utf8.RuneSelf { // quoted-pairSMTP is ASCII only
				return "", "", syntax("an ASCII character must follow the backslash")
			}
			c = s[i]
		}
		if c < ' ' || c == 0x7f {
			return "", "", syntax("it contains a control character")
		}
		b.WriteByte(c)
	}
	return "", "", syntax("the quotes are not closed")
}

// isDotString reports whether s is a dot-string, with UTF-8 counted among its atoms (RFC 6531, 3.3).
func isDotString(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !isAtext(atom[i]) {
				return false
			}
		}
	}
	return true
}

// isAtext reports whether c may stand in an atom (RFC 5322, 3.2.3; RFC 6531, 3.3).
func isAtext(c byte) bool {
	return isLetDig(c) || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// hides reports whether r is above ASCII and cannot be seen, or reorders or hides others: a control of ISO
// 6429, which terminals obey, a bidirectional or other format character, a line or paragraph separator.
func hides(r rune) bool {
	return r >= utf8.RuneSelf && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}

func isLetDig(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// checkDomain checks a domain or an address literal.
func checkDomain(d string) error {
	switch {
	case d == "":
		return syntax("nothing stands after the @")
	case d[0] == '[':
		return checkLiteral(d)
	case IsASCII(d):
		return checkLabels(d)
	}
	a, err := idnaProfile().ToASCII(d)
	if err != nil {
		return syntax("its domain is not valid in IDNA")
	}
	return checkLabels(a)
}

// checkLabels checks an ASCII domain (RFC 5321, 4.1.2; lengths RFC 1035, 2.3.4).
func checkLabels(d string) error {
	if len(d) > MaxDomain {
		return ErrTooLong
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" {
			return syntax("its domain has a dot too many")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return syntax("a part of its domain begins or ends with a hyphen")
		}
		if len(label) > 63 {
			return ErrTooLong
		}
		for i := range len(label) {
			if c := label[i]; !isLetDig(c) && c != '-' && c != '_' {
				return syntax(fmt.Sprintf("%q is not allowed in a domain", c))
			}
		}
	}
	return nil
}

// checkLiteral checks [192.0.2.1] and [IPv6:2001:db8::1] (RFC 5321, 4.1.3).
func checkLiteral(d string) error {
	inner, ok := strings.CutSuffix(d[1:], "]")
	if !ok {
		return syntax("its address literal is not valid")
	}
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return syntax("its address literal is not valid")
	}
	return nil
}

// idnaProfile is IDNA 2008 for look-up, underscores allowed as in checkLabels.
func idnaProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false),
		idna.VerifyDNSLength(true))
}
