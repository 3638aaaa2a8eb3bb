// Package terminal suits what the commands print to where it is shown: the width of a terminal, its colours,
// text that is wrapped with a hanging indent, and tables whose cells wrap.
//
// What always holds: where the output is not a terminal there is no colour, and no text is wrapped, unless
// that is asked for; nothing here changes the words. Callers make foreign text safe to show before.
package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// Width is how many columns the terminal has that out is, or 0 if it is none.
func Width(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// Color says when to use colours: auto, always or never. It is the value of a flag.
type Color string

// The values of a Color.
const (
	Auto   Color = "auto"
	Always Color = "always"
	Never  Color = "never"
)

// Colors are the values of a Color.
func Colors() []string { return []string{string(Auto), string(Always), string(Never)} }

// String implements pflag.Value.
func (c *Color) String() string { return string(*c) }

// Type implements pflag.Value.
func (c *Color) Type() string { return "when" }

// Set implements pflag.Value.
func (c *Color) Set(s string) error {
	for _, known := range Colors() {
		if s == known {
			*c = Color(s)
			return nil
		}
	}
	return errors.New("write " + strings.Join(Colors(), ", "))
}

// On reports whether colours are to be used on out. Auto uses them on a terminal, unless it is a dumb one or
// NO_COLOR is set to anything (no-color.org).
func (c Color) On(out io.Writer) bool {
	switch c {
	case Always:
		return true
	case Never:
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && Width(out) > 0
}

// Style is how a text looks: a parameter of SGR (ECMA-48, 8.3.117).
type Style int

// The styles, in colours that are read on a light and on a dark ground.
const (
	Plain  Style = 0
	Bold   Style = 1
	Dim    Style = 2
	Red    Style = 31
	Green  Style = 32
	Yellow Style = 33
)

// Paint gives a text a style, if colours are on.
func Paint(on bool, style Style, text string) string {
	if !on || style == Plain || text == "" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", style, text)
}

// Columns is how many columns a text takes. Characters of East Asia take two, combining marks none.
func Columns(s string) int {
	n := 0
	for _, r := range s {
		switch k := width.LookupRune(r).Kind(); {
		case unicode.Is(unicode.Mn, r):
		case k == width.EastAsianWide || k == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// Wrap breaks a line between words so that none takes more than columns. The lines after the first begin with
// hang blanks. A word that is longer than a line keeps a line of its own. With columns 0 nothing is broken.
func Wrap(line string, columns, hang int) string {
	if columns <= 0 || Columns(line) <= columns {
		return line
	}
	hang = max(0, min(hang, columns-20))
	text := strings.TrimLeft(line, " ")
	lead := len(line) - len(text)
	var b strings.Builder
	b.WriteString(line[:lead])
	at, fresh := lead, true
	for _, word := range spaced(text) {
		n := Columns(word)
		if bare := strings.TrimLeft(word, " "); !fresh && at+n > columns {
			b.WriteString("\n" + strings.Repeat(" ", hang))
			word, at, n = bare, hang, Columns(bare)
		}
		b.WriteString(word)
		at, fresh = at+n, false
	}
	return b.String()
}

// spaced are the words of a text, each with the blanks before it.
func spaced(text string) (words []string) {
	start, blank := 0, false
	for i := range len(text) {
		if text[i] == ' ' && !blank && i > start {
			words = append(words, text[start:i])
			start = i
		}
		blank = text[i] == ' '
	}
	return append(words, text[start:])
}
