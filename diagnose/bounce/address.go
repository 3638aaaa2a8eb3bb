package bounce

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// addressAt takes an address off the beginning of s, with the marks around it: <bob@example.com>,
// "bob@example.com", 'bob@example.com', [SMTP:bob@example.com], <mailto:bob@example.com> or bare. It is empty
// when s does not begin with one.
func addressAt(s string) (address, rest string) {
	in, closes := s, ""
	if in != "" {
		switch in[0] {
		case '<':
			in, closes = in[1:], ">"
		case '\'':
			in, closes = in[1:], "'"
		case '[':
			in, closes = in[1:], "]"
		case '"':
			if !isQuotedLocal(in) {
				in, closes = in[1:], `"`
			}
		}
	}
	in = withoutScheme(in)
	n := addressLength(in)
	if n == 0 {
		return "", s
	}
	address, rest = in[:n], in[n:]
	if closes == "" {
		return address, rest
	}
	rest, found := strings.CutPrefix(rest, closes)
	if !found {
		return "", s
	}
	return address, rest
}

// withoutScheme is an address without what says of which kind it is.
func withoutScheme(s string) string {
	for _, scheme := range [...]string{"mailto:", "smtp:", "rfc822;", "rfc822:"} {
		if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return s[len(scheme):]
		}
	}
	return s
}

// isQuotedLocal reports whether s begins with a local part in quotes and its @ (RFC 5321, 4.1.2).
func isQuotedLocal(s string) bool {
	end := strings.IndexByte(s[1:min(len(s), maxLocal)], '"')
	return end > 0 && strings.HasPrefix(s[end+2:], "@")
}

// addressLength is the length of the address that s begins with, 0 when it begins with none.
func addressLength(s string) int {
	local := 0
	if strings.HasPrefix(s, `"`) && isQuotedLocal(s) {
		local = strings.IndexByte(s[1:], '"') + 2
	} else {
		local = strings.IndexFunc(s[:min(len(s), maxLocal)], endsLocal)
	}
	if local <= 0 || s[local] != '@' {
		return 0
	}
	domain := domainLength(s[local+1:])
	if domain == 0 {
		return 0
	}
	return local + 1 + domain
}

// endsLocal reports whether a character cannot be in a local part without quotes (RFC 5321, 4.1.2; RFC 6531,
// 3.3), or is what follows it.
func endsLocal(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`@<>()[],;:"\`, r) }

// domainLength is the length of the domain or address literal that s begins with.
func domainLength(s string) int {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s[:min(len(s), maxDomain)], ']')
		return end + 1
	}
	s = s[:min(len(s), maxDomain+1)]
	n := strings.IndexFunc(s, endsDomain)
	if n < 0 {
		n = len(s)
	}
	domain := strings.TrimRight(s[:n], ".-_")
	if last := domain[strings.LastIndexByte(domain, '.')+1:]; last != "" && last[0] < utf8.RuneSelf {
		beyond := strings.IndexFunc(last, func(r rune) bool { return r >= utf8.RuneSelf })
		if beyond > 0 { // words follow without a space: no top-level domain mixes the two
			domain = domain[:len(domain)-len(last)+beyond]
		}
	}
	if len(domain) > maxDomain || strings.HasPrefix(domain, ".") {
		return 0
	}
	return len(domain)
}

// endsDomain reports whether a character cannot be in a domain (RFC 5321, 4.1.2; RFC 5890, 2.3.2.1).
func endsDomain(r rune) bool {
	if r < utf8.RuneSelf {
		return !isLetter(r) && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
	}
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
}
