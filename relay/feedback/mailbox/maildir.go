package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"mailwhy/relay/internal/durable"
)

// MaildirOptions are what a Maildir is made with. All are required.
type MaildirOptions struct {
	Dir string // has new, cur and tmp in it
	// After is for feedback, which Seen moves to cur with the flag S. The folder of Move is a maildir in Dir,
	// by the name that begins with a dot there.
	After     After
	StateFile string // which files stay in new though they were dealt with
	MaxSize   int64  // bytes; more of a mail is not read

	Poll       time.Duration // how often to look for mail where the system does not tell of it
	Backoff    time.Duration // after an error; doubled after each further one
	MaxBackoff time.Duration

	Take Take
	Log  *slog.Logger
}

// Maildir reads a maildir: the mail that is in its directory new. What a mail reader has moved from there to
// cur before is not seen.
type Maildir struct {
	o    MaildirOptions
	log  *slog.Logger
	done map[string]bool // the files of new that were dealt with
	last string          // the error that was logged
}

// NewMaildir makes a Maildir.
func NewMaildir(o MaildirOptions) (*Maildir, error) {
	if strings.ContainsRune(o.After.Folder, filepath.Separator) {
		return nil, fmt.Errorf("%q is not a folder of a maildir: it has a %q in it", o.After.Folder,
			filepath.Separator)
	}
	return &Maildir{o: o, log: o.Log.With("maildir", o.Dir), done: map[string]bool{}}, nil
}

// Run reads the maildir until ctx is done. It is called once.
func (m *Maildir) Run(ctx context.Context) {
	m.recall()
	events, stop := m.watch()
	defer func() { stop() }()
	wait := m.o.Backoff
	for ctx.Err() == nil {
		pause := m.o.Poll
		err := m.scan(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			pause, wait = wait, min(2*wait, m.o.MaxBackoff)
		} else {
			wait = m.o.Backoff
		}
		m.report(err, pause)
		if err != nil { // the directory may be another one when it is there again
			stop()
			events, stop = nil, func() {}
		} else if events == nil {
			if events, stop = m.watch(); events != nil {
				continue // what came before it was watched
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-events: // none after an error: it is waited for, whatever arrives
			drain(events)
		}
		t.Stop()
	}
}

// drain takes the events that are there: one scan serves them all.
func drain(events chan fsnotify.Event) {
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		default:
			return
		}
	}
}

// watch has the system tell of files that arrive. Where it cannot, the directory is looked at now and then.
func (m *Maildir) watch() (events chan fsnotify.Event, stop func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, func() {}
	}
	if err := w.Add(filepath.Join(m.o.Dir, "new")); err != nil {
		w.Close()
		return nil, func() {}
	}
	go func() {
		for range w.Errors { // the next look at the directory finds what was missed
		}
	}()
	return w.Events, func() { w.Close() }
}

// report tells of an error, once for each reason in a row, and of its end.
func (m *Maildir) report(err error, next time.Duration) {
	switch {
	case err == nil && m.last != "":
		m.log.Info("the maildir is read again")
		m.last = ""
	case err != nil && err.Error() != m.last:
		m.log.Warn("the maildir cannot be read now", "err", err, "next_try", next)
		m.last = err.Error()
	}
}

// recall reads what was dealt with before.
func (m *Maildir) recall() {
	var l looked
	if err := readState(m.o.StateFile, &l); err != nil {
		m.log.Warn("what of the maildir was read is not known: reading all of it", "err", err)
		return
	}
	if l.Maildir != m.o.Dir {
		return
	}
	for _, name := range l.Names {
		m.done[name] = true
	}
}

// scan deals with all mail that is new. What was dealt with is written down at its end, also after an error:
// a crash before has some mail read again.
func (m *Maildir) scan(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(m.o.Dir, "new"))
	if err != nil {
		return err
	}
	there, changed := map[string]bool{}, false
	for _, e := range entries {
		there[e.Name()] = true
	}
	maps.DeleteFunc(m.done, func(name string, _ bool) bool {
		changed = changed || !there[name]
		return !there[name]
	})
	var errs []error
	for _, e := range byAge(entries) {
		if m.done[e.Name()] || !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		mail, err := m.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody else moved it meanwhile
		} else if err != nil {
			errs = append(errs, err)
			continue
		}
		stays, err := m.one(ctx, e.Name(), mail)
		if err != nil {
			errs = append(errs, err)
			break
		}
		if stays {
			m.done[e.Name()], changed = true, true
		}
	}
	if changed {
		state := looked{Maildir: m.o.Dir, Names: slices.Sorted(maps.Keys(m.done))}
		errs = append(errs, writeState(m.o.StateFile, state))
	}
	return errors.Join(errs...)
}

// byAge puts files in the order in which they arrived, as well as the file system knows it.
func byAge(entries []fs.DirEntry) []fs.DirEntry {
	at := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			at[e.Name()] = info.ModTime()
		}
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		return cmp.Or(at[a.Name()].Compare(at[b.Name()]), strings.Compare(a.Name(), b.Name()))
	})
	return entries
}

// one deals with one mail, and reports whether its file stays in new.
func (m *Maildir) one(ctx context.Context, name string, mail []byte) (stays bool, err error) {
	verdict, err := m.o.Take(ctx, mail)
	if err != nil {
		return false, doing("taking a mail", err)
	}
	if verdict != Feedback || m.o.After.Action == Leave {
		return true, nil
	}
	err = m.treat(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	m.log.Warn("a mail that was taken stays as it is", "after", m.o.After.Action, "file", name, "err", err)
	return true, nil
}

// read reads a mail, at most MaxSize bytes of it.
func (m *Maildir) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(m.o.Dir, "new", name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, m.o.MaxSize))
}

// treat does with feedback what After says. None of it needs to survive a power cut: the mail would be read
// again.
func (m *Maildir) treat(name string) error {
	from := filepath.Join(m.o.Dir, "new", name)
	to := filepath.Join(m.o.Dir, "cur")
	switch m.o.After.Action {
	case Delete:
		return os.Remove(from)
	case Move:
		folder := filepath.Join(m.o.Dir, "."+m.o.After.Folder)
		for _, sub := range []string{"", "tmp", "new", "cur"} {
			if err := durable.MkdirAll(durable.OS{}, filepath.Join(folder, sub), 0o700); err != nil {
				return err
			}
		}
		to = filepath.Join(folder, "cur")
	}
	base, _, _ := strings.Cut(name, ":2,")
	return os.Rename(from, filepath.Join(to, base+":2,S"))
}
