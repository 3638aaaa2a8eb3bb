package spf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// checkDomain reports what is wrong with a domain-spec (RFC 7208, 7.1): it ends in a label that is not all
// digits, or in a macro.
func checkDomain(spec string) error {
	if err := checkMacros(spec); err != nil {
		return err
	}
	if strings.HasSuffix(spec, "}") {
		return nil
	}
	name := strings.TrimSuffix(spec, ".")
	top := name[strings.LastIndexByte(name, '.')+1:]
	if !strings.Contains(name, ".") || strings.Trim(top, "0123456789") == "" ||
		strings.HasPrefix(top, "-") || strings.HasSuffix(top, "-") {
		return fmt.Errorf("%q is not a domain", spec)
	}
	return nil
}

// macro is one %{...}: a letter, how many labels to keep, whether they are reversed, and what parts them.
type macro struct {
	letter     byte // in lower case
	keep       int  // 0: all
	reverse    bool
	delimiters string
}

// nextMacro cuts text at its first macro. end is what stands behind it; ok is false without a macro.
func nextMacro(text string) (before string, m macro, end string, ok bool, err error) {
	at := strings.IndexByte(text, '%')
	if at < 0 {
		return text, m, "", false, nil
	}
	before, rest := text[:at], text[at+1:]
	for _, e := range []struct{ escape, literal string }{{"%", "%"}, {"_", " "}, {"-", "%20"}} {
		if after, found := strings.CutPrefix(rest, e.escape); found {
			return before + e.literal, macro{}, after, true, nil
		}
	}
	body, after, closed := strings.Cut(rest, "}")
	if !closed || len(body) < 2 || body[0] != '{' {
		return "", m, "", false, fmt.Errorf("%q has a %% that begins no macro", text)
	}
	m, err = parseMacro(body[1:])
	return before, m, after, true, err
}

// parseMacro reads the inside of the braces (RFC 7208, 7.1).
func parseMacro(body string) (m macro, err error) {
	m.letter = body[0] | 0x20
	if !strings.ContainsRune("slodiphcrtv", rune(m.letter)) {
		return m, fmt.Errorf("there is no macro %%{%s}", body)
	}
	rest := strings.TrimLeft(body[1:], "0123456789")
	if digits := body[1 : len(body)-len(rest)]; digits != "" {
		if m.keep, err = strconv.Atoi(digits); err != nil || m.keep == 0 {
			return m, fmt.Errorf("macro %%{%s} keeps no label", body)
		}
	}
	if strings.HasPrefix(rest, "r") || strings.HasPrefix(rest, "R") {
		m.reverse, rest = true, rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return m, fmt.Errorf("macro %%{%s} has an unknown part %q", body, rest)
	}
	m.delimiters = rest
	return m, nil
}

// checkMacros reports the first macro that is wrong.
func checkMacros(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q has a character that is not printable ASCII", text)
	}
	for ok := true; ok; {
		var err error
		if _, _, text, ok, err = nextMacro(text); err != nil {
			return err
		}
	}
	return nil
}

// errMessage is the reason why a domain-spec is not expanded.
var errMessage = errors.New("depends on the message")

// expand expands a domain-spec where the domain alone decides it, or returns errMessage. domain is the one
// whose record it is, sender that of the mail.
func expand(spec, domain, sender string) (string, error) {
	var b strings.Builder
	for ok := true; ok; {
		before, m, end, found, err := nextMacro(spec)
		if err != nil {
			return "", err
		}
		b.WriteString(before)
		switch m.letter {
		case 0:
		case 'd':
			b.WriteString(m.apply(domain))
		case 'o':
			b.WriteString(m.apply(sender))
		default:
			return "", errMessage
		}
		spec, ok = end, found
	}
	return b.String(), nil
}

// apply takes the labels of a value that the macro keeps (RFC 7208, 7.3).
func (m macro) apply(value string) string {
	delimiters := m.delimiters
	if delimiters == "" {
		delimiters = "."
	}
	parts := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(delimiters, r) })
	if m.reverse {
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
	}
	if m.keep > 0 && m.keep < len(parts) {
		parts = parts[len(parts)-m.keep:]
	}
	return strings.Join(parts, ".")
}
