package dsn

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// The form of the text part.
const (
	textWidth  = 72
	labelWidth = 12
)

// rows are labelled lines of the text part, one below the other.
type rows struct {
	*speaker
	strings.Builder
}

// row is a labelled line, wrapped; nothing when text is empty.
func (r *rows) row(key, text string) {
	if text != "" {
		wrapTo(&r.Builder, r.label(key), indent, text)
	}
}

// verbatim is a label and lines that are not wrapped.
func (r *rows) verbatim(key string, lines []string) {
	label := r.label(key)
	for _, line := range lines {
		r.WriteString(label + line + "\n")
		label = indent
	}
}

// steps are a label and numbered, wrapped lines.
func (r *rows) steps(key string, lines []string) {
	label := r.label(key)
	for i, line := range lines {
		number := strconv.Itoa(i+1) + ". "
		wrapTo(&r.Builder, label+number, indent+strings.Repeat(" ", len(number)), line)
		label = indent
	}
}

// indent takes the place of a label.
const indent = "            "

// label is the words for a key, filled up to the column where values begin.
func (r *rows) label(key string) string {
	label := r.word(key) + ":"
	if n := utf8.RuneCountInString(label); n < labelWidth {
		return label + indent[n:]
	}
	return label + " "
}

// wrap breaks a text into lines.
func wrap(text string) string {
	var b strings.Builder
	b.Grow(len(text) + 64)
	wrapTo(&b, "", "", text)
	return b.String()
}

// wrapTo breaks a text into lines: the first begins with first, the others with rest. A word longer than a
// line, as a link may be, stays whole.
func wrapTo(b *strings.Builder, first, rest, text string) {
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
}
