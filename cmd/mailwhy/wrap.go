package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// wrapAt is the column at which text for people is broken.
const wrapAt = 100

// itemWidth is the column of the values of items, behind two spaces, the longest name and two more.
const itemWidth = 14

// item writes a named value; without a value it writes nothing.
func item(b *bytes.Buffer, name, value string) {
	if value != "" {
		paragraph(b, fmt.Sprintf("  %-*s", itemWidth-2, name), strings.Repeat(" ", itemWidth), value)
	}
}

// steps writes a named list of ordered steps; a single step has no number.
func steps(b *bytes.Buffer, name string, list []string) {
	for i, s := range list {
		if len(list) == 1 {
			item(b, name, s)
			return
		}
		number := fmt.Sprintf("%d. ", i+1)
		paragraph(b, fmt.Sprintf("  %-*s%s", itemWidth-2, first(i, name), number), strings.Repeat(" ", itemWidth+len(number)), s)
	}
}

// first is the name for the first of several values.
func first(i int, name string) string {
	if i == 0 {
		return name
	}
	return ""
}

// paragraph writes text in lines of at most wrapAt columns, where words allow it.
func paragraph(b *bytes.Buffer, head, indent, text string) {
	b.WriteString(head)
	column := utf8.RuneCountInString(head)
	for i, word := range strings.Fields(printable(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > wrapAt:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteByte('\n')
}
