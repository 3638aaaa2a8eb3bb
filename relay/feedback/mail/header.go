package mail

import (
	"bytes"
	"strings"
)

// Bounds of what is read of a mail's own header.
const (
	maxHeader = 256 << 10 // bytes
	maxValue  = 998       // of a field: a line of RFC 5322, 2.1.1
)

// header is the own header of a mail, as far as it is asked for here.
type header struct {
	fields map[string][]string // values on one line, by names in lower case, in their order
	body   []byte              // what stands behind it
}

// headerOf reads the header of a mail. A line that is not a field, such as the first one of an mbox file, is
// passed over.
func headerOf(content []byte) header {
	h := header{fields: map[string][]string{}}
	rest, name := content, ""
	for len(rest) > 0 && len(content)-len(rest) < maxHeader {
		line, next, _ := bytes.Cut(rest, []byte("\n"))
		rest = next
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' { // RFC 5322, 2.2.3
			h.extend(name, string(bytes.TrimSpace(line)))
			continue
		}
		before, value, found := bytes.Cut(line, []byte(":"))
		before = bytes.TrimRight(before, " \t")
		if name = ""; !found || bytes.ContainsAny(before, " \t") {
			continue
		}
		name = strings.ToLower(string(before))
		h.fields[name] = append(h.fields[name], shortened(string(bytes.TrimSpace(value))))
	}
	h.body = rest
	return h
}

// extend adds a line to the last value of a field.
func (h *header) extend(name, line string) {
	if values := h.fields[name]; len(values) > 0 {
		values[len(values)-1] = shortened(values[len(values)-1] + " " + line)
	}
}

// get is the first value of a field, or "".
func (h *header) get(name string) string {
	if values := h.fields[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func shortened(s string) string { return s[:min(len(s), maxValue)] }

// addresses are the words of a value that may be addresses, without what stands around them.
func addresses(value string) []string {
	var list []string
	around := func(r rune) bool { return strings.ContainsRune(" \t,;<>", r) }
	for word := range strings.FieldsFuncSeq(value, around) {
		if strings.Contains(word, "@") {
			list = append(list, word)
		}
	}
	return list
}

// domainOf is the domain of the last address in a value, in lower case; "" if there is none.
func domainOf(value string) string {
	list := addresses(value)
	if len(list) == 0 {
		return ""
	}
	last := list[len(list)-1]
	return strings.ToLower(strings.Trim(last[strings.LastIndexByte(last, '@')+1:], "\"()."))
}
