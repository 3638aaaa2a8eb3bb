// Package traceparent reads the header field of that name, by which an application says which trace its mail
// belongs to (W3C Trace Context, Level 1, section 3.2).
package traceparent

// The lengths of the parts: "00-" trace id "-" parent id "-" flags.
const (
	traceAt, spanAt, flagsAt = 3, 36, 53
	length                   = 55
)

// Parse reads a value: the ids of the trace and of the span, in lower-case hexadecimal. ok is false for what
// is not valid, which has to be ignored as a whole (3.2.2). Of a later version the parts of version 00 are
// read, as section 3.2.4 asks.
func Parse(s string) (trace, span string, ok bool) {
	if len(s) < length || s[2] != '-' || s[spanAt-1] != '-' || s[flagsAt-1] != '-' {
		return "", "", false
	}
	version := s[:2]
	if !hex(version) || version == "ff" || !hex(s[flagsAt:length]) ||
		len(s) > length && (version == "00" || s[length] != '-') {
		return "", "", false
	}
	trace, span = s[traceAt:spanAt-1], s[spanAt:flagsAt-1]
	if !hex(trace) || !hex(span) || zero(trace) || zero(span) {
		return "", "", false
	}
	return trace, span, true
}

// hex reports whether s is lower-case hexadecimal: HEXDIGLC of section 3.2.
func hex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// zero reports whether s is all zeros, which names nothing.
func zero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
