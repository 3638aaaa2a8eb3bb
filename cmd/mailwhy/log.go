package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
)

// followEvery is how often a followed file is looked at.
const followEvery = 250 * time.Millisecond

func newLogCommand() *cobra.Command {
	w := logView{shown: map[string]bool{}}
	var follow bool
	var l local
	c := &cobra.Command{
		Use:   "log [FILE]",
		Short: "Show a delivery log in words",
		Long: `Reads a delivery log, from FILE or standard input, and shows each event as a line, and each
refusal with its category, cause and fix. The flags choose lines: a line must match all of them, and
a flag given more than once matches any of its values. Lines that are not events are shown
unchanged, unless a filter is given.

With --id and -c or --spool it also shows what the relay remembers about the message and the log
does not have, because it was rotated: bounces and other events that were reported later.`,
		Args: cobra.MaximumNArgs(1),
	}
	l.register(c)
	c.Flags().StringSliceVar(&w.ids, "id", nil, "queue `id`, of the message or of a report about it")
	c.Flags().StringSliceVar(&w.from, "from", nil, "sender `address`, or @domain")
	c.Flags().StringSliceVar(&w.to, "to", nil, "recipient `address`, or @domain")
	c.Flags().StringSliceVar(&w.categories, "category", nil,
		"`category` or reason of the diagnosis: 'Mailbox Full', mailbox_full")
	c.Flags().StringSliceVar(&w.events, "event", nil, "`event`: relayed, deferred, failed, ...")
	c.Flags().BoolVar(&w.json, "json", false, "show the chosen lines as they are")
	c.Flags().BoolVarP(&follow, "follow", "f", false,
		"go on as the file grows, also when it is rotated, until interrupted")
	c.RunE = func(c *cobra.Command, args []string) error {
		w.out = bufio.NewWriter(c.OutOrStdout())
		if len(args) == 0 || args[0] == "-" {
			return errors.Join(w.show(c.InOrStdin()), w.goOn(c.Context(), &l))
		}
		if follow {
			return w.follow(c.Context(), args[0])
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		return errors.Join(w.show(f), w.goOn(c.Context(), &l))
	}
	return c
}

// logView chooses lines of a delivery log and shows them.
type logView struct {
	ids, from, to, categories, events []string

	json    bool
	out     *bufio.Writer
	shown   map[string]bool // what came back, by event id and recipient
	partial []byte          // a line whose end was not there yet, at most maxLine bytes
	long    bool            // it has more
}

// show reads r to its end. An unfinished last line is shown too.
func (w *logView) show(r io.Reader) error {
	if err := w.read(bufio.NewReader(r)); err != nil {
		return err
	}
	if len(w.partial) > 0 {
		w.grow([]byte("\n"))
		w.end()
	}
	return w.out.Flush()
}

// read shows the whole lines of r, and keeps the beginning of one.
func (w *logView) read(r *bufio.Reader) error {
	for {
		b, err := r.ReadSlice('\n')
		w.grow(b)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return w.out.Flush()
		case err != nil:
			return errors.Join(err, w.out.Flush())
		}
		w.end()
		if r.Buffered() == 0 {
			if err := w.out.Flush(); err != nil {
				return err
			}
		}
	}
}

// grow adds to the line that is being read. No event is as long as maxLine: of a longer line the rest is left
// out.
func (w *logView) grow(b []byte) {
	if room := maxLine - len(w.partial); len(b) > room {
		w.long = true
		b = b[:room]
	}
	w.partial = append(w.partial, b...)
}

// end shows the line that was read.
func (w *logView) end() {
	switch {
	case !w.long:
		w.line(w.partial)
	case !w.chooses():
		w.out.WriteString(printable(string(w.partial)) + "...\n")
	}
	w.forget()
}

// forget makes room for another line.
func (w *logView) forget() { w.partial, w.long = w.partial[:0], false }

// line shows one line if it is chosen.
func (w *logView) line(b []byte) {
	l, err := record.Parse(b)
	switch {
	case err != nil:
		if !w.chooses() {
			w.out.WriteString(printable(strings.TrimRight(string(b), "\r\n")) + "\n")
		}
	case !w.chosen(&l):
	case w.json:
		w.out.Write(b)
		w.shown[l.EventID+" "+l.To] = true
	default:
		w.out.Write(deliverylog.AppendText(nil, &l))
		w.shown[l.EventID+" "+l.To] = true
	}
}

// goOn shows what came back for the wanted messages and was not among the lines, from the relay that l names.
func (w *logView) goOn(ctx context.Context, l *local) error {
	if len(w.ids) == 0 || l.file == "" && l.spool == "" {
		return nil
	}
	cfg, err := l.load()
	if err != nil {
		return err
	}
	for _, id := range w.ids {
		list, err := remembered(ctx, cfg, id)
		if err != nil && !errors.Is(err, relay.ErrNotFound) {
			return errors.Join(err, w.out.Flush())
		}
		for _, m := range list {
			for _, told := range m.Told {
				e := (*feedback.Told)(&told).Event(m.Message)
				line := record.New(&e)
				if w.chosen(&line) && !w.shown[line.EventID+" "+line.To] {
					w.line(append(line.AppendJSON(nil), '\n'))
				}
			}
		}
	}
	return w.out.Flush()
}

// chooses reports whether anything is chosen at all.
func (w *logView) chooses() bool {
	return w.json || len(w.ids)+len(w.from)+len(w.to)+len(w.categories)+len(w.events) > 0
}

// chosen reports whether a line is.
func (w *logView) chosen(l *record.Event) bool {
	category, reason := "", ""
	if l.Diagnosis != nil {
		category, reason = plainName(string(l.Diagnosis.Category)), plainName(string(l.Diagnosis.Reason))
	}
	return anyOf(w.ids, func(id string) bool { return id == l.ID || id == l.Mail || id == l.DSN }) &&
		anyOf(w.from, func(a string) bool { return ofAddress(a, l.From) }) &&
		anyOf(w.to, func(a string) bool { return ofAddress(a, l.To) }) &&
		anyOf(w.events, func(k string) bool { return strings.EqualFold(k, string(l.Kind)) }) &&
		anyOf(w.categories, func(k string) bool { return plainName(k) == category || plainName(k) == reason })
}

// anyOf reports whether one of the wanted values holds, or none is wanted.
func anyOf(wanted []string, holds func(string) bool) bool {
	for _, v := range wanted {
		if holds(v) {
			return true
		}
	}
	return len(wanted) == 0
}

// ofAddress reports whether an address is the wanted one, or of the wanted "@domain".
func ofAddress(wanted, address string) bool {
	wanted, address = strings.ToLower(strings.Trim(wanted, "<>")), strings.ToLower(address)
	if strings.HasPrefix(wanted, "@") {
		return strings.HasSuffix(address, wanted)
	}
	return wanted == address
}

// plainName makes 'Mailbox Full', mailbox-full and mailbox_full the same.
func plainName(s string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(s))
}

// follow shows a file as it grows. When another file takes its name, the old one is shown to its end and
// the new one from its beginning; when it is cut short, it is read from its beginning.
func (w *logView) follow(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	r := bufio.NewReader(f)
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		next := rotated(f, name)
		if err := w.read(r); err != nil {
			return err
		}
		if next != nil {
			f.Close()
			f = next
			r.Reset(f)
			w.forget()
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// rotated opens what is to be read in place of f, or returns nil to go on with f.
func rotated(f *os.File, name string) *os.File {
	then, err := f.Stat()
	if err != nil {
		return nil
	}
	now, err := os.Stat(name)
	if err != nil { // between the renaming and the new file
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil || (os.SameFile(then, now) && now.Size() >= at) {
		return nil
	}
	next, err := os.Open(name)
	if err != nil {
		return nil
	}
	return next
}
