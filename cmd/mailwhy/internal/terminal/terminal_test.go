package terminal

import (
	"bytes"
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		line          string
		columns, hang int
		want          string
	}{
		{"short", 80, 4, "short"},
		{"not a terminal, so nothing is broken", 0, 4, "not a terminal, so nothing is broken"},
		{"one two three four five six seven", 24, 4, "one two three four five\n    six seven"},
		{"one two  three four  five six", 20, 4, "one two  three four\n  five six"[:19] + "\nfive six"},
		{"    fix  1. look at the log of it", 30, 8, "    fix  1. look at the log of\n        it"},
		{"see https://example.com/a/very/long/path ok", 20, 0,
			"see\nhttps://example.com/a/very/long/path\nok"},
		{"漢字漢字漢字 漢字漢字漢字 漢字", 26, 2, "漢字漢字漢字 漢字漢字漢字\n  漢字"},
		{"e\u0301e\u0301e\u0301e\u0301e\u0301 ab cd ef gh ij kl", 22, 0,
			"e\u0301e\u0301e\u0301e\u0301e\u0301 ab cd ef gh ij\nkl"},
	} {
		if got := Wrap(c.line, c.columns, c.hang); got != c.want {
			t.Errorf("Wrap(%q, %d, %d):\n%s\nwant\n%s", c.line, c.columns, c.hang, got, c.want)
		}
	}
}

// wide is a table of 45 columns by itself.
var wide = Table{
	Head: []string{"WHO", "WHY", "ACTS"},
	Rows: [][]string{
		{"alice@example.com", "", "nobody"},
		{"bob@example.com", "the mailbox is full", "recipient"},
	},
	Style: func(row, column int) Style {
		if row == 1 && column == 2 {
			return Red
		}
		return Plain
	},
}

func TestTable(t *testing.T) {
	whole := `WHO                WHY                  ACTS
alice@example.com                       nobody
bob@example.com    the mailbox is full  recipient
`
	narrow := `WHO                WHY          ACTS
alice@example.com               nobody
bob@example.com    the mailbox  recipient
                   is full
`
	narrowest := `WHO                WHY      ACTS
alice@example.com           nobody
bob@example.com    the      recipient
                   mailbox
                   is full
`
	for columns, want := range map[int]string{0: whole, 80: whole, 41: narrow, 10: narrowest} {
		if got := wide.Render(columns, false); got != want {
			t.Errorf("in %d columns:\n%s\nwant\n%s", columns, got, want)
		}
	}
	color := wide.Render(0, true)
	if !strings.Contains(color, "\x1b[31mrecipient\x1b[0m\n") ||
		!strings.Contains(color, "\x1b[1mWHO\x1b[0m ") {
		t.Errorf("in colour: %q", color)
	}
}

func TestColor(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var c Color
	for _, word := range Colors() {
		if err := c.Set(word); err != nil || c.String() != word {
			t.Errorf("%s: %v, %v", word, c, err)
		}
	}
	if err := c.Set("yes"); err == nil || !strings.Contains(err.Error(), "auto, always, never") {
		t.Errorf("got %v", err)
	}
	var file bytes.Buffer
	if Auto.On(&file) || Never.On(&file) || !Always.On(&file) || Width(&file) != 0 {
		t.Error("a buffer was taken for a terminal")
	}
	if got := Paint(true, Green, ""); got != "" {
		t.Errorf("an empty text became %q", got)
	}
}
