package dsn

import (
	"strings"
	texttemplate "text/template"
	"time"
)

// functions are those that templates have beside Go's own:
//
//	say KEY DATA       the words for KEY, filled in with DATA
//	word KEY           the words for KEY that need no data
//	choose KIND NAME   the words for KIND_NAME, "" when there are none
//	date TIME          a date and time, "" for the zero time
//	span DURATION      a duration in its largest unit
//	join LIST SEP      the list as one text
//	wrap TEXT          the text in lines of at most 72 characters
//	row KEY TEXT       a labelled line, wrapped; nothing when TEXT is empty
//	verbatim KEY LIST  a label and lines that are not wrapped
//	steps KEY LIST     a label and numbered, wrapped lines
func (l language) functions() texttemplate.FuncMap {
	written := func(write func(*rows)) (string, error) {
		r := rows{speaker: &speaker{language: l}}
		write(&r)
		return r.String(), r.err
	}
	return texttemplate.FuncMap{
		"say":    l.say,
		"word":   func(key string) (string, error) { return l.say(key, nil) },
		"choose": l.choose,
		"date":   date,
		"span":   l.span,
		"join":   strings.Join,
		"wrap":   wrap,
		"row": func(key, text string) (string, error) {
			return written(func(r *rows) { r.row(key, text) })
		},
		"verbatim": func(key string, lines []string) (string, error) {
			return written(func(r *rows) { r.verbatim(key, lines) })
		},
		"steps": func(key string, lines []string) (string, error) {
			return written(func(r *rows) { r.steps(key, lines) })
		},
	}
}

// date is a date and time, "" for the zero time.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(dateLayout)
}
