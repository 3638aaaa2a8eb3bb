package record

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwhy/diagnose"
)

// appendTime appends RFC 3339 in UTC with milliseconds: always as long, so that lines sort as text. Years
// beyond four digits, which RFC 3339 does not know, become the nearest that it does.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Date(min(max(y, 0), 9999), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(),
			t.Nanosecond(), time.UTC)
	}
	return t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// appendKey appends a comma, a name of ours and a colon.
func appendKey(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// appendField appends a string that is not empty.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(appendKey(b, name), value)
}

// appendInt appends a number that is not 0.
func appendInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(appendKey(b, name), n, 10)
}

// appendTrue appends a boolean that is true.
func appendTrue(b []byte, name string, value bool) []byte {
	if !value {
		return b
	}
	return append(appendKey(b, name), "true"...)
}

// appendSeconds appends a duration with milliseconds. Nothing at all is written only where it is known.
func appendSeconds(b []byte, name string, s float64, known bool) []byte {
	if (s == 0 && !known) || math.IsNaN(s) || math.IsInf(s, 0) {
		return b
	}
	return strconv.AppendFloat(appendKey(b, name), s, 'f', 3, 64)
}

// appendBase64 appends bytes.
func appendBase64(b []byte, name, value string) []byte {
	b = append(appendKey(b, name), '"')
	b = base64.StdEncoding.AppendEncode(b, []byte(value))
	return append(b, '"')
}

// appendList appends strings, if there are any.
func appendList[S ~string](b []byte, name string, list []S) []byte {
	if len(list) == 0 {
		return b
	}
	return appendArray(appendKey(b, name), list)
}

// appendArray appends strings as an array.
func appendArray[S ~string](b []byte, list []S) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(s))
	}
	return append(b, ']')
}

// appendString appends a JSON string (RFC 8259, 7). Beyond what JSON asks for, it escapes every control and
// every invisible format character, so that the log can be shown on a terminal. Bytes that are not UTF-8
// become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = appendEscape(append(b, s[start:i]...), rune(c))
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && size == 1) || hidden(r) {
			b = appendEscape(append(b, s[start:i]...), r)
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// hidden reports whether a character beyond ASCII acts on a terminal or a log viewer without being seen.
func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// appendEscape appends one character in its escaped form.
func appendEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	case utf8.RuneError:
		return append(b, "\uFFFD"...)
	}
	if r > 0xffff { // RFC 8259, 7: as a UTF-16 surrogate pair
		r -= 0x10000
		b = appendEscape(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// appendDiagnosis appends the object that encoding/json makes of d.
func appendDiagnosis(b []byte, d *diagnose.Diagnosis) []byte {
	b = appendString(append(b, `{"category":`...), string(d.Category))
	b = strconv.AppendBool(append(b, `,"in_guide":`...), d.InGuide)
	b = appendString(append(b, `,"reason":`...), string(d.Reason))
	b = appendString(append(b, `,"cause":`...), d.Cause)
	b = appendArray(append(b, `,"fix":`...), d.Fix)
	b = appendList(b, "evidence", d.Evidence)
	b = appendString(append(b, `,"scope":`...), string(d.Scope))
	b = appendString(append(b, `,"owner":`...), string(d.Owner))
	b = appendString(append(b, `,"action":`...), string(d.Action))
	b = appendString(append(b, `,"basis":`...), string(d.Basis))
	b = appendString(append(b, `,"confidence":`...), string(d.Confidence))
	b = appendString(append(b, `,"rule":`...), d.Rule)
	b = appendList(b, "alternatives", d.Alternatives)
	b = appendField(b, "provider", d.Provider)
	b = appendInt(b, "retry_after", int64((time.Duration(d.RetryAfter)+time.Second-1)/time.Second))
	if l := d.Blocklist; l != nil {
		b = appendString(append(b, `,"blocklist":{"name":`...), l.Name)
		b = appendField(b, "lookup", l.Lookup)
		b = append(appendField(b, "removal", l.Removal), '}')
	}
	b = appendInt(b, "size_limit", d.SizeLimit)
	b = appendField(b, "domain", d.Domain)
	b = appendField(b, "ip", d.IP)
	b = appendList(b, "links", d.Links)
	return append(b, '}')
}
