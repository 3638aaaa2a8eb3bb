package dsn

import (
	"fmt"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode/utf8"
)

// The form of the text part.
const (
	textWidth  = 72
	labelWidth = 12
)

// functions are those that templates have beside Go's own:
//
//	say KEY DATA       the words for KEY, filled in with DATA
//	about KEY KIND DATA  the words for KEY_KIND, filled in with DATA
//	word KEY           the words for KEY that need no data
//	choose KIND NAME   the words for KIND_NAME, "" when there are none
//	date TIME          a date and time, "" for the zero time
//	span DURATION      a duration in its largest unit
//	join LIST SEP      the list as one text
//	wrap TEXT          the text in lines of at most 72 characters
//	row KEY TEXT       a labelled line, wrapped; nothing when TEXT is empty
//	verbatim KEY LIST  a label and lines that are not wrapped
//	steps KEY LIST     a label and numbered, wrapped lines
func functions(words map[string]word) texttemplate.FuncMap {
	say := func(key string, data any) (string, error) { return say(words, key, data) }
	plain := func(key string) (string, error) { return say(key, nil) }
	labelled := func(key string, write func(label string) string) (string, error) {
		label, err := plain(key)
		if err != nil {
			return "", err
		}
		return write(pad(label + ":")), nil
	}
	return texttemplate.FuncMap{
		"say":   say,
		"about": func(key, kind string, data any) (string, error) { return say(key+"_"+kind, data) },
		"word":  plain,
		"choose": func(kind, name string) (string, error) {
			if _, ok := words[kind+"_"+name]; !ok {
				return "", nil
			}
			return plain(kind + "_" + name)
		},
		"date": func(t time.Time) string {
			if t.IsZero() {
				return ""
			}
			return t.Format(dateLayout)
		},
		"span": func(d time.Duration) (string, error) { return span(say, d) },
		"join": strings.Join,
		"wrap": func(s string) string { return wrap("", "", s) },
		"row": func(key, text string) (string, error) {
			if text == "" {
				return "", nil
			}
			return labelled(key, func(label string) string { return wrap(label, pad(""), text) })
		},
		"verbatim": func(key string, lines []string) (string, error) {
			return labelled(key, func(label string) string { return listed(label, lines, verbatimLine) })
		},
		"steps": func(key string, lines []string) (string, error) {
			return labelled(key, func(label string) string { return listed(label, lines, numberedLine) })
		},
	}
}

// word is one of a language's words: a template, or, as most are, a mere text.
type word struct {
	text     string
	template *texttemplate.Template // nil for a text
}

// say fills in the words for a key.
func say(words map[string]word, key string, data any) (string, error) {
	w, ok := words[key]
	switch {
	case !ok:
		return "", fmt.Errorf("no words for %q", key)
	case w.template == nil:
		return w.text, nil
	}
	var b strings.Builder
	b.Grow(96)
	err := w.template.Execute(&b, data)
	return b.String(), err
}

// span is a duration in words, in the largest unit of which there are at least two, rounded down.
func span(say func(string, any) (string, error), d time.Duration) (string, error) {
	switch {
	case d >= 48*time.Hour:
		return say("days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return say("hours", int(d.Hours()))
	case d >= 2*time.Minute:
		return say("minutes", int(d.Minutes()))
	}
	return say("seconds", int(d.Seconds()))
}

// pad fills a label up to the column where values begin.
func pad(label string) string {
	if n := utf8.RuneCountInString(label); n < labelWidth {
		return label + strings.Repeat(" ", labelWidth-n)
	}
	return label + " "
}

// listed writes lines below one another, the first one behind the label.
func listed(label string, lines []string, write func(indent string, n int, line string) string) string {
	var b strings.Builder
	for i, line := range lines {
		b.WriteString(write(label, i+1, line))
		label = pad("")
	}
	return b.String()
}

func verbatimLine(indent string, _ int, line string) string { return indent + line + "\n" }

func numberedLine(indent string, n int, line string) string {
	number := fmt.Sprintf("%d. ", n)
	return wrap(indent+number, pad("")+strings.Repeat(" ", len(number)), line)
}

// wrap breaks a text into lines: the first begins with first, the others with rest. A word longer than a line, as a
// link may be, stays whole.
func wrap(first, rest, text string) string {
	var b strings.Builder
	b.Grow(len(first) + len(text) + 64)
	b.WriteString(first)
	column, empty := utf8.RuneCountInString(first), true
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case empty:
		case column+1+n > textWidth:
			b.WriteString("\n" + rest)
			column = utf8.RuneCountInString(rest)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column, empty = column+n, false
	}
	b.WriteByte('\n')
	return b.String()
}
