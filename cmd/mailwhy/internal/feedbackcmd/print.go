package feedbackcmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"mailwhy/relay/admin"
)

// list prints the reports that are selected.
func (f *flags) list(ctx context.Context, w io.Writer) error {
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	n := 0
	err = client.Reports(ctx, filter, func(r admin.Report) error {
		n++
		if f.json {
			return json.NewEncoder(w).Encode(r)
		}
		_, err := fmt.Fprintln(w, line(&r))
		return err
	})
	if err == nil && n == 0 && !f.json {
		_, err = fmt.Fprintln(w, "no report is selected: all that came back had its effect")
	}
	return err
}

// line is a report in a list.
func line(r *admin.Report) string {
	what := "not read yet"
	if r.Kind != "" {
		what = strings.TrimSpace(r.Kind + " " + r.Recipient)
	}
	text := fmt.Sprintf("%-6d %s  %-10s  %s  %s", r.ID, stamp(r.Came), r.State, r.Source, printable(what))
	if reply, _, _ := strings.Cut(r.Reply, "\n"); reply != "" {
		text += "  " + printable(strings.TrimRight(reply, "\r"))
	}
	if r.Why != "" {
		text += "  (" + printable(r.Why) + ")"
	}
	if !r.Due.IsZero() && r.Tries > 0 {
		text += "  next try " + stamp(r.Due)
	}
	return text
}

// show prints one report.
func (f *flags) show(ctx context.Context, arg string, w io.Writer) error {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || id < 1 {
		return f.o.Usage(fmt.Errorf("not the number of a report: %q; mailwhy feedback list shows them", arg))
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	r, err := client.Report(ctx, id)
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(w).Encode(r)
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\n", line(&r))
	if len(r.Event) > 0 {
		var text bytes.Buffer
		if json.Indent(&text, r.Event, "", "  ") == nil {
			fmt.Fprintf(b, "\nAs it was read:\n")
			writePrintable(b, text.String())
		}
	}
	fmt.Fprintf(b, "\nAs it came:\n")
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(b, "%s: %s\n", name, printable(r.Header[name]))
	}
	writePrintable(b, string(r.Body))
	return b.Flush()
}

// writePrintable writes lines that others wrote.
func writePrintable(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintln(w, printable(strings.TrimRight(line, "\r\n")))
	}
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// printable is text that others wrote, made safe for a terminal: without what controls it, or changes the
// order in which text is shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) ||
			r == unicode.ReplacementChar) {
			return '?'
		}
		return r
	}, s)
}
