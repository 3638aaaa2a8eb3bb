package sign

import (
	"bytes"
	"strings"
)

// signedFields are the names for h=: each of names as often as the header has it, and once more if it is to
// be oversigned.
func signedFields(header []byte, names, oversign []string) []string {
	counts := count(header)
	extra := map[string]bool{}
	for _, name := range oversign {
		extra[strings.ToLower(name)] = true
	}
	var list []string
	for _, name := range names {
		lower := strings.ToLower(name)
		n := counts[lower]
		if extra[lower] {
			n++
		}
		for range n {
			list = append(list, name)
		}
	}
	return list
}

// count says how often a header has each field, by its name in lower case.
func count(header []byte) map[string]int {
	counts := map[string]int{}
	for line := range bytes.Lines(header) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if name, _, ok := bytes.Cut(line, []byte(":")); ok {
			counts[string(bytes.ToLower(bytes.TrimRight(name, " \t")))]++
		}
	}
	return counts
}
