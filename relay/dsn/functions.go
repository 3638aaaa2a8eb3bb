package dsn

import (
	"strings"
	texttemplate "text/template"
	"time"
)

// functions are those that templates have beside Go's own:
//
//	say KEY DATA       the words for KEY, filled in with DATA: the View, a recipient, a number or an id
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
	said := func(say func(*speaker) string) (string, error) {
		s := &speaker{language: l}
		text := say(s)
		return text, s.err
	}
	written := func(write func(*rows)) (string, error) {
		return said(func(s *speaker) string { return s.rows(write) })
	}
	return texttemplate.FuncMap{
		"say": func(key string, data any) (string, error) {
			return said(func(s *speaker) string { return s.say(key, s.factsOf(data)) })
		},
		"word": func(key string) (string, error) {
			return said(func(s *speaker) string { return s.word(key) })
		},
		"choose": func(kind, name string) string { return (&speaker{language: l}).choose(kind, name) },
		"date":   date,
		"span": func(d time.Duration) (string, error) {
			return said(func(s *speaker) string { return s.span(d) })
		},
		"join": strings.Join,
		"wrap": wrap,
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
