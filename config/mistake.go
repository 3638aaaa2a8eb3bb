package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// Mistake is one thing wrong with a configuration. Its text never holds the value of a secret.
type Mistake struct {
	Key    string // path, as in "upstream.default.port"; empty for the file as a whole
	Origin string // where the value came from: a file, a variable or a flag; empty for a default
	What   string
	Hint   string
}

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

// Mistakes is the error that Load returns: everything that is wrong, in order of the keys.
type Mistakes []Mistake

// Error lists the mistakes, one a line.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// err returns ms sorted, as an error; nil when nothing is wrong.
func (ms Mistakes) err() error {
	if len(ms) == 0 {
		return nil
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int { return strings.Compare(a.Key, b.Key) })
	return ms
}

// badValue is a value that could not be decoded.
type badValue struct{ what, hint string }

func (e *badValue) Error() string { return e.what }

// decodeMistakes turns the error tree of mapstructure into mistakes.
func decodeMistakes(err error) Mistakes {
	var ms Mistakes
	for _, leaf := range leaves(err, "") {
		m := Mistake{Key: leaf.key, What: leaf.err.Error()}
		if bad, ok := errors.AsType[*badValue](leaf.err); ok {
			m.What, m.Hint = bad.what, bad.hint
		} else if _, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](leaf.err); ok {
			m.What, m.Hint = "has the wrong type", "see relay.example.toml"
		}
		ms = append(ms, m)
	}
	return ms
}

// leaf is an error of one key.
type leaf struct {
	key string
	err error
}

// leaves returns the innermost errors below err, each with the key path that its nearest DecodeError names.
func leaves(err error, key string) []leaf {
	switch e := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []leaf
		for _, one := range e.Unwrap() {
			all = append(all, leaves(one, key)...)
		}
		return all
	case *mapstructure.DecodeError:
		return leaves(e.Unwrap(), keyPath(e.Name()))
	}
	if inner := errors.Unwrap(err); inner != nil {
		return leaves(inner, key)
	}
	return []leaf{{key, err}}
}

// keyPath turns mapstructure's name of a field, "upstream[default].port", into a key path. Indexes of lists
// stay.
func keyPath(name string) string {
	var b strings.Builder
	for name != "" {
		i := strings.IndexByte(name, '[')
		j := strings.IndexByte(name, ']')
		if i < 0 || j < i {
			break
		}
		inner := name[i+1 : j]
		b.WriteString(name[:i])
		if strings.Trim(inner, "0123456789") == "" {
			b.WriteString("[" + inner + "]")
		} else {
			b.WriteString("." + inner)
		}
		name = name[j+1:]
	}
	return b.String() + name
}
