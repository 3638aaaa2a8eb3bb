package checkcmd

import (
	"encoding/json"
	"fmt"
	"io"

	"mailwhy/relay/check"
)

// printLines prints the lines of a check.
func printLines(w io.Writer, lines []check.Line, asJSON bool) error {
	about := ""
	for i := range lines {
		l := &lines[i]
		if asJSON {
			b, err := json.Marshal(l)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\n", b)
			continue
		}
		if a := subject(l); a != about || i == 0 {
			fmt.Fprintln(w, a)
			about = a
		}
		printLine(w, l)
	}
	return nil
}

// subject is what a line is about: lines about the same stand together.
func subject(l *check.Line) string {
	switch {
	case l.Domain != "" && l.Upstream != "":
		return l.Domain + " through " + l.Upstream
	case l.Domain != "":
		return l.Domain
	case l.Upstream != "":
		return "upstream " + l.Upstream
	}
	return "configuration"
}

// printLine prints one line for people, with its fix and the records to paste.
func printLine(w io.Writer, l *check.Line) {
	text := l.Text
	if l.Outcome != "" {
		text = string(l.Outcome) + ": " + text
	}
	fmt.Fprintf(w, "  %-8s %-12s %s\n", l.Level, l.Check, text)
	if l.Fix != "" {
		fmt.Fprintf(w, "  %21s fix: %s\n", "", l.Fix)
	}
	for _, r := range l.Records {
		fmt.Fprintf(w, "  %21s %s  %s  %s\n", "", r.Name, r.Type, r.Value)
	}
}
