package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/cmd/mailwhy/internal/complete"
	"mailwhy/cmd/mailwhy/internal/logview"
	"mailwhy/cmd/mailwhy/internal/terminal"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/redact"
)

// followFrom is with how many lines a followed file begins.
const followFrom = 10

func newLogCommand() *cobra.Command {
	w := logView{shown: map[string]bool{}}
	var follow, summary bool
	var since string
	var l local
	c := &cobra.Command{
		Use:   "log [FILE]",
		Short: "Show a delivery log in words",
		Long: `Reads a delivery log, from FILE or standard input, and shows each event as a line, and each
refusal with its category, cause and fix. The flags choose lines: a line must match all of them, and
a flag given more than once matches any of its values. Lines that are not events are shown
unchanged, unless a filter is given.

On a terminal lines are wrapped and coloured. What docker compose logs and kubectl logs --prefix put
before a line is kept. With -f it begins with
the last ten, unless -n or --since says otherwise, and waits for a file that is not there yet.

  mailwhy log delivery.log --since 2h --summary
  docker compose logs -f relay | mailwhy log --event failed

With --id and -c or --spool it also shows what the relay remembers about the message and the log
does not have, because it was rotated: bounces and other events that were reported later. With --from or --to
these find an address in a log whose addresses are hashes, too.`,
		Args: cobra.MaximumNArgs(1),
	}
	l.register(c)
	w.register(c)
	color := terminal.Auto
	c.Flags().Var(&color, "color", "colours: auto, always, never")
	c.Flags().StringVar(&since, "since", "",
		"only events of this `time` or later: 30m, 4h, 2d ago, or 2026-11-29T09:00:00Z")
	c.Flags().BoolVar(&summary, "summary", false, "count the refusals by category, reason and who must act")
	c.Flags().BoolVarP(&follow, "follow", "f", false,
		"go on as the file grows, also when it is rotated, until interrupted")
	complete.Flag(c, "color", terminal.Colors()...)
	c.RunE = func(c *cobra.Command, args []string) error {
		out := c.OutOrStdout()
		w.out = bufio.NewWriter(out)
		w.style = logview.Style{Width: terminal.Width(out), Color: color.On(out)}
		w.keeps = c.Flags().Changed("lines")
		if summary {
			w.summary = &logview.Summary{}
		}
		if err := w.prepare(since, follow, l.file != "", time.Now()); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		if err := w.findHashes(&l); err != nil {
			return err
		}
		if len(args) == 0 || args[0] == "-" {
			return errors.Join(w.show(c.InOrStdin()), w.goOn(c.Context(), &l), w.finish())
		}
		if follow {
			return w.follow(c.Context(), args[0], c.ErrOrStderr())
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		return errors.Join(w.show(f), w.goOn(c.Context(), &l), w.finish())
	}
	return c
}

// register adds the flags that choose lines, and what is shown of them.
func (w *logView) register(c *cobra.Command) {
	c.Flags().StringSliceVar(&w.ids, "id", nil, "queue `id`, of the message or of a report about it")
	c.Flags().StringSliceVar(&w.from, "from", nil, "sender `address`, or @domain")
	c.Flags().StringSliceVar(&w.to, "to", nil, "recipient `address`, or @domain")
	c.Flags().StringSliceVar(&w.categories, "category", nil,
		"`category` or reason of the diagnosis: 'Mailbox Full', mailbox_full")
	c.Flags().StringSliceVar(&w.events, "event", nil, "`event`: relayed, deferred, failed, ...")
	c.Flags().StringSliceVar(&w.owners, "owner", nil, "who must act: operator, application, recipient, ...")
	c.Flags().StringVar(&w.format, "format", "text",
		"form of the chosen lines: text, json (as they are), ecs, otel")
	c.Flags().BoolVar(&w.json, "json", false, "the same as --format json")
	c.Flags().IntVarP(&w.tail.Size, "lines", "n", 0, "only the last `N` of what is chosen (with -f: 10)")
	complete.Flag(c, "event", relay.EventKinds()...)
	complete.Flag(c, "category", categories()...)
	complete.Flag(c, "owner", diagnose.Owners()...)
	complete.Flag(c, "format", deliverylog.Formats()...)
}

// prepare checks the flags. ownReasons says that there may be reasons that are not built in.
func (w *logView) prepare(since string, follow, ownReasons bool, now time.Time) error {
	if since != "" {
		if d, err := value.ParseDuration(since); err == nil {
			w.since = now.Add(-d)
		} else if w.since, err = time.Parse(time.RFC3339, since); err != nil {
			return fmt.Errorf("--since %q: write 30m, 4h, 2d, or 2026-11-29T09:00:00Z", since)
		}
	}
	switch {
	case !slices.Contains(deliverylog.Formats(), w.format):
		return fmt.Errorf("--format %q: %s", w.format, logview.Suggest(w.format, deliverylog.Formats()))
	case w.tail.Size < 0:
		return errors.New("-n: write a number of lines, 0 or more")
	case follow && w.summary != nil:
		return errors.New("--summary counts what is there; leave --follow out")
	case follow && since == "" && !w.keeps:
		w.keeps, w.tail.Size = true, followFrom
	}
	w.json = w.json || w.format == string(deliverylog.JSON)
	if err := logview.CheckEvents(w.events); err != nil {
		return err
	}
	if err := logview.CheckOwners(w.owners); err != nil || ownReasons {
		return err
	}
	return logview.CheckCategories(w.categories)
}

// logView chooses lines of a delivery log and shows them.
type logView struct {
	ids, from, to, categories, events, owners []string

	since    time.Time // zero: any
	summary  *logview.Summary
	tail     logview.Tail
	keeps    bool   // what is shown goes to tail first
	json     bool   // the lines as they are
	format   string // else: a deliverylog.Format
	style    logview.Style
	redactor *redact.Redactor // of the hashes in the log; nil: not known
	out      *bufio.Writer
	shown    map[string]bool // what came back, by event id and recipient
	partial  []byte          // a line whose end was not there yet, at most maxLine bytes
	long     bool            // it has more
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
		w.emit([]byte(printable(string(w.partial)) + "...\n"))
	}
	w.forget()
}

// forget makes room for another line.
func (w *logView) forget() { w.partial, w.long = w.partial[:0], false }

// line shows one line if it is chosen.
func (w *logView) line(b []byte) {
	prefix, l, err := logview.Parse(b)
	switch {
	case err != nil:
		if !w.chooses() {
			w.emit([]byte(printable(strings.TrimRight(string(b), "\r\n")) + "\n"))
		}
		return
	case !w.chosen(&l):
		return
	case w.summary != nil:
		w.summary.Add(&l)
	case w.json:
		w.emit(b)
	case w.format != string(deliverylog.Text):
		w.emit(deliverylog.Format(w.format).Append(nil, &l))
	default:
		w.emit(w.style.Append(nil, printable(prefix), &l))
	}
	w.shown[l.EventID+" "+l.To] = true
}

// emit shows a piece, or keeps it until the last ones are known.
func (w *logView) emit(b []byte) {
	if w.keeps {
		w.tail.Add(b)
		return
	}
	w.out.Write(b)
}

// finish shows what was kept, and the summary.
func (w *logView) finish() error {
	for _, b := range w.tail.All() {
		w.out.Write(b)
	}
	w.keeps, w.tail = false, logview.Tail{}
	if w.summary != nil {
		if err := w.summary.Write(w.out, w.json); err != nil {
			return err
		}
	}
	return w.out.Flush()
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
	return w.json || w.format != string(deliverylog.Text) || w.summary != nil || !w.since.IsZero() ||
		len(w.ids)+len(w.from)+len(w.to)+len(w.categories)+len(w.events)+len(w.owners) > 0
}

// chosen reports whether a line is.
func (w *logView) chosen(l *record.Event) bool {
	category, reason, owner := "", "", ""
	if l.Diagnosis != nil {
		category = logview.Plain(string(l.Diagnosis.Category))
		reason = logview.Plain(string(l.Diagnosis.Reason))
		owner = logview.Plain(string(l.Diagnosis.Owner))
	}
	return !l.Time.Before(w.since) &&
		anyOf(w.ids, func(id string) bool { return id == l.ID || id == l.Mail || id == l.DSN }) &&
		anyOf(w.from, func(a string) bool { return w.ofAddress(a, l.From) }) &&
		anyOf(w.to, func(a string) bool { return w.ofAddress(a, l.To) }) &&
		anyOf(w.events, func(k string) bool { return strings.EqualFold(k, string(l.Kind)) }) &&
		anyOf(w.owners, func(k string) bool { return logview.Plain(k) == owner }) &&
		anyOf(w.categories,
			func(k string) bool { return logview.Plain(k) == category || logview.Plain(k) == reason })
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

// ofAddress reports whether an address, or what stands for it in a log with hashes, is the wanted one.
func (w *logView) ofAddress(wanted, address string) bool {
	return ofAddress(wanted, address) ||
		w.redactor != nil && strings.EqualFold(w.redactor.Address(strings.Trim(wanted, "<>")), address)
}

// findHashes lets addresses be found in a log with hashes, with the key of the spool that l names.
func (w *logView) findHashes(l *local) error {
	if len(w.from)+len(w.to) == 0 || l.file == "" && l.spool == "" {
		return nil
	}
	cfg, err := l.load()
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(cfg.Spool.Dir, "key"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // this relay has never run, and so has written no hash
	}
	w.redactor = redact.New(redact.Hash, key)
	return err
}

// ofAddress reports whether an address is the wanted one, or of the wanted "@domain".
func ofAddress(wanted, address string) bool {
	wanted, address = strings.ToLower(strings.Trim(wanted, "<>")), strings.ToLower(address)
	if strings.HasPrefix(wanted, "@") {
		return strings.HasSuffix(address, wanted)
	}
	return wanted == address
}
