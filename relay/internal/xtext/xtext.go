// Package xtext encodes and decodes the values of DSN parameters: xtext (RFC 3461, 4) and its forms for
// internationalized addresses (RFC 6533, 3). The front door, the upstream side and the DSN composer use it.
//
// Decoding is strict: what it accepts is what the RFC's grammar produces.
package xtext

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is returned for what the grammar does not produce.
var ErrSyntax = errors.New("malformed xtext")

const hex = "0123456789ABCDEF"

// Encode writes s as xtext; every byte outside the printable ASCII range, "+" and "=" become hexchars.
func Encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if isXchar(s[i]) {
			b.WriteByte(s[i])
		} else {
			b.Write([]byte{'+', hex[s[i]>>4], hex[s[i]&15]})
		}
	}
	return b.String()
}

// Decode reads xtext. The result may hold any byte: whoever uses it says what is allowed.
func Decode(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			if i+2 >= len(s) {
				return "", ErrSyntax
			}
			hi, lo := strings.IndexByte(hex, s[i+1]), strings.IndexByte(hex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", ErrSyntax
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		case isXchar(s[i]):
			b.WriteByte(s[i])
		default:
			return "", ErrSyntax
		}
	}
	return b.String(), nil
}

// EncodeUTF8 writes s as utf-8-addr-xtext, which is all ASCII (RFC 6533, 3). Bytes that are no UTF-8 become
// U+FFFD.
func EncodeUTF8(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && isQchar(byte(r)) {
			b.WriteByte(byte(r))
			continue
		}
		digits := strings.ToUpper(strconv.FormatInt(int64(r), 16))
		if len(digits) == 1 {
			digits = "0" + digits
		}
		b.WriteString(`\x{` + digits + `}`)
	}
	return b.String()
}

// DecodeUTF8 reads utf-8-addr-xtext and utf-8-addr-unitext, which may hold UTF-8 itself (RFC 6533, 3).
func DecodeUTF8(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", ErrSyntax
	}
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' {
			r, rest, err := cutUnicode(s)
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			s = rest
			continue
		}
		if s[0] < utf8.RuneSelf && !isQchar(s[0]) {
			return "", ErrSyntax
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String(), nil
}

// ORCPT takes apart the value of an ORCPT parameter (RFC 3461, 4.2; RFC 6533, 3): the address type as
// written and the decoded address. An unknown type is not an error, but its value must be xtext.
func ORCPT(s string) (addrType, addr string, err error) {
	addrType, value, ok := strings.Cut(s, ";")
	if !ok || value == "" || !isAtom(addrType) {
		return "", "", ErrSyntax
	}
	if strings.EqualFold(addrType, "utf-8") {
		addr, err = DecodeUTF8(value)
	} else {
		addr, err = Decode(value)
	}
	return addrType, addr, err
}

// cutUnicode reads the \x{HEX} at the start of s: two to six upper-case digits with no needless leading zero.
func cutUnicode(s string) (r rune, rest string, err error) {
	inner, ok := strings.CutPrefix(s, `\x{`)
	digits, rest, closed := strings.Cut(inner, "}")
	if !ok || !closed || len(digits) < 2 || len(digits) > 6 || strings.Trim(digits, hex) != "" {
		return 0, "", ErrSyntax
	}
	if len(digits) > 2 && digits[0] == '0' {
		return 0, "", ErrSyntax
	}
	n, err := strconv.ParseInt(digits, 16, 32)
	if err != nil || n == 0 || !utf8.ValidRune(rune(n)) {
		return 0, "", ErrSyntax
	}
	if n < utf8.RuneSelf && isQchar(byte(n)) { // must be written as itself
		return 0, "", ErrSyntax
	}
	return rune(n), rest, nil
}

// isXchar reports whether c stands for itself in xtext.
func isXchar(c byte) bool { return '!' <= c && c <= '~' && c != '+' && c != '=' }

// isQchar reports whether c stands for itself in utf-8-addr-xtext.
func isQchar(c byte) bool { return isXchar(c) && c != '\\' }

// isAtom reports whether s is an atom, as address types are (RFC 3461, 4.2).
func isAtom(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\".[]=+`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
