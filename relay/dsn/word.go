package dsn

import (
	"fmt"
	"slices"
	"strings"
)

// word is one of a language's words: texts, {names} for which facts are put in, and [parts] that are left
// out where there is no fact for a name in them. Go's own templates would take half the time
// of a bounce.
type word []piece

// piece is a part of a word: one of its fields is set.
type piece struct {
	text     string
	name     string
	optional word
}

// facts give what is put in for a name, "" when there is nothing.
type facts func(name string) string

// factNames are the names that words may have.
func factNames() []string {
	return []string{
		// of a View
		"host", "whom", "whom_of_it", "categories", "waited", "subject", "until", "count", "file",
		"reporter", "refuser",
		// of a RecipientView
		"category", "reason", "time", "attempts", "server", "stage",
		// of a number or an id
		"n", "id",
	}
}

// parseWord reads a word.
func parseWord(source string) (word, error) {
	w, rest, err := parsePieces(source)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q: ] without [", source)
	}
	return w, err
}

// parsePieces reads pieces up to the end or to a closing bracket.
func parsePieces(s string) (w word, rest string, err error) {
	for s != "" && s[0] != ']' {
		var p piece
		switch s[0] {
		case '[':
			if p.optional, rest, err = parsePieces(s[1:]); err == nil && rest == "" {
				err = fmt.Errorf("%q: [ without ]", s)
			}
			s = strings.TrimPrefix(rest, "]")
		case '{':
			var closed bool
			p.name, s, closed = strings.Cut(s[1:], "}")
			if !closed || !slices.Contains(factNames(), p.name) {
				err = fmt.Errorf("{%s}: not a name that words may have", p.name)
			}
		default:
			end := strings.IndexAny(s, "[]{")
			if end < 0 {
				end = len(s)
			}
			p.text, s = s[:end], s[end:]
		}
		if err != nil {
			return nil, "", err
		}
		w = append(w, p)
	}
	return w, s, nil
}

// plain is the text of a word that has no names.
func (w word) plain() (text string, ok bool) {
	if len(w) == 1 {
		text = w[0].text
	}
	return text, text != "" || len(w) == 0
}

// fill puts in the facts. It reports whether there was one for each name outside of brackets.
func (w word) fill(b *strings.Builder, f facts) (whole bool) {
	whole = true
	for i := range w {
		switch p := &w[i]; {
		case p.name != "":
			fact := f(p.name)
			whole = whole && fact != ""
			b.WriteString(fact)
		case p.optional != nil:
			var part strings.Builder
			if p.optional.fill(&part, f) {
				b.WriteString(part.String())
			}
		default:
			b.WriteString(p.text)
		}
	}
	return whole
}
