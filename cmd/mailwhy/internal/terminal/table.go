package terminal

import (
	"strings"
)

// gap is between two columns of a table.
const gap = 2

// Table is a table whose cells wrap where it would be too wide.
type Table struct {
	Head []string
	Rows [][]string
	// Styles are those of the columns, by the row's index; nil is none.
	Style func(row, column int) Style
}

// Render is the table in at most columns, as far as its longest words allow. Each line ends in a line end.
// With columns 0 nothing wraps.
func (t *Table) Render(columns int, color bool) string {
	widths := t.fit(columns)
	var b strings.Builder
	t.row(&b, t.Head, widths, func(int) Style { return Bold }, color)
	for i, cells := range t.Rows {
		style := func(column int) Style {
			if t.Style == nil {
				return Plain
			}
			return t.Style(i, column)
		}
		t.row(&b, cells, widths, style, color)
	}
	return b.String()
}

// fit are the widths of the columns: as wide as their cells are, and where that is too much the widest
// columns give way, down to their longest words.
func (t *Table) fit(columns int) []int {
	widths, least := make([]int, len(t.Head)), make([]int, len(t.Head))
	for _, cells := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range cells {
			widths[i] = max(widths[i], Columns(cell))
			for _, word := range strings.Fields(cell) {
				least[i] = max(least[i], Columns(word))
			}
		}
	}
	total := gap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; columns > 0 && total > columns; total-- {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// row writes one row, in as many lines as its highest cell needs.
func (t *Table) row(b *strings.Builder, cells []string, widths []int, style func(int) Style, color bool) {
	broken, height := make([][]string, len(cells)), 0
	for i, cell := range cells {
		broken[i] = strings.Split(Fill(cell, widths[i]), "\n")
		height = max(height, len(broken[i]))
	}
	for n := range height {
		last := 0 // the last cell with text on this line
		for i := range broken {
			if n < len(broken[i]) && broken[i][n] != "" {
				last = i
			}
		}
		for i, lines := range broken[:last+1] {
			text := ""
			if n < len(lines) {
				text = lines[n]
			}
			b.WriteString(Paint(color, style(i), text))
			if i < last {
				b.WriteString(strings.Repeat(" ", widths[i]-Columns(text)+gap))
			}
		}
		b.WriteByte('\n')
	}
}

// Fill breaks a text between words, whatever blanks it has, so that no line takes more than columns.
func Fill(text string, columns int) string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && Columns(lines[n-1])+1+Columns(word) <= columns {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return strings.Join(lines, "\n")
}
