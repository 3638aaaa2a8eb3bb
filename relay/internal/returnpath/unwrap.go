package returnpath

import "strings"

// unwrap is the address that a mail system has put into one of its own, or address itself. There is no RFC
// for any of these forms:
//
//	SRS0=HASH=TIME=DOMAIN=LOCAL@forwarder                 Sender Rewriting Scheme, the first forwarder
//	SRS1=HASH=FORWARDER==HASH=TIME=DOMAIN=LOCAL@second    and all later ones
//	prvs=TAG=LOCAL@DOMAIN                                 Bounce Address Tag Validation
//
// The sign behind SRS0, and the second one of the two in SRS1, may be "+" or "-" in place of "=". It does not
// check what is theirs to check; the code in the token decides.
func unwrap(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	local, domain := address[:at], address[at+1:]
	if rest, ok := cutFold(local, "prvs="); ok {
		if _, inner, found := strings.Cut(rest, "="); found {
			return inner + "@" + domain
		}
	}
	if rest, ok := cutFold(local, "SRS1"); ok && separator(rest) {
		_, rest, _ = strings.Cut(rest[1:], "=") // their hash
		_, rest, _ = strings.Cut(rest, "=")     // the first forwarder
		return srs0(rest, address)
	}
	if rest, ok := cutFold(local, "SRS0"); ok {
		return srs0(rest, address)
	}
	return address
}

// srs0 is the address in what stands behind "SRS0", or whole if there is none.
func srs0(rest, whole string) string {
	if !separator(rest) {
		return whole
	}
	parts := strings.SplitN(rest[1:], "=", 4)
	if len(parts) < 4 {
		return whole
	}
	return parts[3] + "@" + parts[2]
}

// separator reports whether s begins with a sign that may follow SRS0.
func separator(s string) bool { return s != "" && strings.ContainsRune("=+-", rune(s[0])) }

// cutFold is what stands behind a prefix, which is found without regard to case.
func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
