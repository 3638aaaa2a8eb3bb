// Package mistake says what is wrong with a configuration: each Mistake names the key, where its value came
// from, what is wrong and how to mend it.
package mistake

import (
	"slices"
	"strings"
)

// Mistake is one thing wrong with a configuration. Its text never holds the value of a secret.
type Mistake struct {
	Key    string // path, as in "upstream.default.port"; empty for the file as a whole
	Origin string // where the value came from: a file, a variable or a flag; empty for a default
	What   string
	Hint   string
}

// At makes a Mistake.
func At(key, origin, what, hint string) Mistake { return Mistake{key, origin, what, hint} }

// String is the mistake in one line.
func (m Mistake) String() string {
	var b strings.Builder
	if m.Origin != "" {
		b.WriteString(m.Origin + ": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.What)
	if m.Hint != "" {
		b.WriteString("; " + m.Hint)
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(b.String())
}

// List is the error that Load returns: everything that is wrong, in order of the keys.
type List []Mistake

// Error lists the mistakes, one a line.
func (ms List) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns ms sorted, as an error; nil when nothing is wrong.
func (ms List) Err() error {
	if len(ms) == 0 {
		return nil
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int { return strings.Compare(a.Key, b.Key) })
	return ms
}

// Value is the error of a value that cannot be decoded.
type Value struct{ What, Hint string }

// Bad makes a Value.
func Bad(what, hint string) *Value { return &Value{what, hint} }

// Error implements error.
func (e *Value) Error() string { return e.What }
