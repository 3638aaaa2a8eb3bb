package convert

import (
	"strings"

	"golang.org/x/net/idna"
)

// encodeAddresses encodes a list of addresses (RFC 5322, 3.4): names and comments as encoded words (RFC 2047,
// 5), domains as A-labels (RFC 5891). A local part that is not ASCII has no other form.
func encodeAddresses(value string) (string, error) {
	var out strings.Builder
	for value != "" {
		n := tokenLength(value)
		token := value[:n]
		value = value[n:]
		if ascii(token) {
			out.WriteString(token)
			continue
		}
		encoded, err := encodeToken(token)
		if err != nil {
			return "", err
		}
		if strings.HasSuffix(out.String(), "?=") {
			out.WriteByte(' ')
		}
		out.WriteString(encoded)
	}
	return out.String(), nil
}

// tokenLength is the length of the piece at the start of s: a quoted string, a comment, an address in angle
// brackets, a special, or a run of words with the blanks between those that have 8-bit bytes.
func tokenLength(s string) int {
	switch s[0] {
	case '"':
		return enclosed(s, '"', 0)
	case '(':
		return enclosed(s, ')', '(')
	case '<':
		return enclosed(s, '>', 0)
	case ',', ';', ':', ' ', '\t':
		return 1
	}
	n := wordLength(s)
	if ascii(s[:n]) || strings.Contains(s[:n], "@") {
		return n
	}
	for { // blanks between encoded words do not count, so the words are encoded together
		blanks := len(s[n:]) - len(strings.TrimLeft(s[n:], " \t"))
		next := n + blanks
		if blanks == 0 || next == len(s) {
			return n
		}
		w := wordLength(s[next:])
		if word := s[next : next+w]; w == 0 || ascii(word) || strings.Contains(word, "@") {
			return n
		}
		n = next + w
	}
}

// wordLength is the length of the word at the start of s.
func wordLength(s string) int {
	if n := strings.IndexAny(s, "\"(<,;: \t"); n >= 0 {
		return n
	}
	return len(s)
}

// enclosed is the length of what stands at the start of s up to its closing character. opening nests, if it
// is not 0.
func enclosed(s string, closing, opening byte) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case opening != 0 && s[i] == opening:
			depth++
		case s[i] == closing && depth > 0:
			depth--
		case s[i] == closing:
			return i + 1
		}
	}
	return len(s)
}

// encodeToken encodes a piece that has 8-bit bytes.
func encodeToken(s string) (string, error) {
	switch {
	case s[0] == '"' && len(s) > 1 && s[len(s)-1] == '"':
		return encodedWords(unescaped(s[1 : len(s)-1])), nil
	case s[0] == '(' && len(s) > 1 && s[len(s)-1] == ')':
		return "(" + encodedWords(unescaped(s[1:len(s)-1])) + ")", nil
	case s[0] == '<' && len(s) > 1 && s[len(s)-1] == '>':
		address, err := encodeAddress(s[1 : len(s)-1])
		return "<" + address + ">", err
	case s[0] == '"', s[0] == '(', s[0] == '<':
		return "", &Error{"a field of addresses has 8-bit bytes and cannot be read"}
	case strings.Contains(s, "@"):
		return encodeAddress(s)
	}
	return encodedWords(s), nil
}

// unescaped takes the backslashes of a quoted string or a comment away.
func unescaped(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// encodeAddress encodes the domain of an address.
func encodeAddress(s string) (string, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || !ascii(s[:at]) {
		return "", &Error{"the local part of an address in the header is not ASCII"}
	}
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil {
		return "", &Error{"the domain of an address in the header is not a valid one"}
	}
	return s[:at+1] + domain, nil
}
