package convert

import (
	"mime"
	"net/url"
	"strings"
)

// encodingOf reads a Content-Transfer-Encoding, also as it should not be: with a comment, a semicolon or
// quotes, or with one of the names that are no encodings, and that readers take as saying nothing.
func encodingOf(value string) encoding {
	value, _, _ = strings.Cut(value, "(")
	switch value = strings.ToLower(strings.Trim(value, " \t;\"")); value {
	case "", "7-bit", "7 bit", "7bits", "us-ascii", "none":
		return sevenBit
	case "8-bit", "8 bit", "8bits", "utf-8", "utf8":
		return eightBit
	}
	return encoding(value)
}

// readType reads a type, in lower case, and its parameters.
func readType(value string) (full string, params map[string]string) {
	full, params, err := mime.ParseMediaType(value)
	if err != nil {
		return loosely(value)
	}
	return full, params
}

// loosely reads a type whose parameters are not as RFC 2045, 5.1, wants them: with specials or 8-bit bytes
// and no quotes, with a quote that nothing ends, a parameter that is empty or there twice. Of several the
// first counts.
func loosely(value string) (full string, params map[string]string) {
	params = map[string]string{}
	full, value = cutParameter(value)
	full, _, _ = strings.Cut(full, "(")
	for value != "" {
		var one string
		one, value = cutParameter(value)
		name, text, found := strings.Cut(one, "=")
		name, text = extended(strings.ToLower(strings.TrimSpace(name)), unquoted(strings.TrimSpace(text)))
		if _, twice := params[name]; found && !twice {
			params[name] = text
		}
	}
	return strings.ToLower(strings.TrimSpace(full)), params
}

// extended reads a parameter that says its charset (RFC 2231, 4), also with 8-bit bytes, which it should not
// have. Another one stays.
func extended(name, text string) (string, string) {
	plain, is := strings.CutSuffix(name, "*")
	parts := strings.SplitN(text, "'", 3)
	if !is || len(parts) < 3 || !strings.EqualFold(parts[0], "utf-8") {
		return name, text
	}
	if decoded, err := url.PathUnescape(parts[2]); err == nil {
		return plain, decoded
	}
	return plain, parts[2]
}

// cutParameter cuts s at the first semicolon that is not in quotes.
func cutParameter(s string) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// unquoted is the text of a quoted string. What is none stays as it is.
func unquoted(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	s = s[:enclosed(s, '"', 0)]
	return unescaped(strings.TrimSuffix(s[1:], `"`))
}
