package mailbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

// dirWorld is a maildir, a reader of it, and what it took.
type dirWorld struct {
	t     *testing.T
	inbox *inbox
	log   *smtptest.Buffer
	o     MaildirOptions
}

func newDirWorld(t *testing.T, after string) *dirWorld {
	w := &dirWorld{t: t, inbox: &inbox{}, log: &smtptest.Buffer{}}
	a, err := ParseAfter(after)
	if err != nil {
		t.Fatal(err)
	}
	w.o = MaildirOptions{
		Dir: t.TempDir(), After: a, StateFile: filepath.Join(t.TempDir(), "state"), MaxSize: 1 << 20,
		Poll: time.Hour, Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		Take: w.inbox.take, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.Mkdir(filepath.Join(w.o.Dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *dirWorld) run() (stop func()) {
	w.t.Helper()
	m, err := NewMaildir(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

// deliver puts a mail into the maildir as a delivery does: whole, by a rename. n orders mails by their age.
func (w *dirWorld) deliver(n int, name, mail string) {
	w.t.Helper()
	tmp := filepath.Join(w.o.Dir, "tmp", name)
	if err := os.WriteFile(tmp, []byte(mail), 0o600); err != nil {
		w.t.Fatal(err)
	}
	at := time.Unix(int64(1_700_000_000+n), 0)
	if err := os.Chtimes(tmp, at, at); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(w.o.Dir, "new", name)); err != nil {
		w.t.Fatal(err)
	}
}

// files are the files of the maildir, in order.
func (w *dirWorld) files() []string {
	var files []string
	err := filepath.WalkDir(w.o.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(w.o.Dir, path)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func (w *dirWorld) waitFiles(want ...string) {
	w.t.Helper()
	smtptest.WaitFor(w.t, fmt.Sprint(want), func() bool { return slices.Equal(w.files(), want) })
}

func TestMaildirAfter(t *testing.T) {
	for after, want := range map[string][]string{
		"leave":       {"new/1.person", "new/2.bounce"},
		"seen":        {"cur/2.bounce:2,S", "new/1.person"},
		"delete":      {"new/1.person"},
		"move:Done.x": {".Done.x/cur/2.bounce:2,S", "new/1.person"},
	} {
		w := newDirWorld(t, after)
		w.deliver(1, "1.person", personMail(1))
		w.deliver(2, "2.bounce", bounceMail(2))
		stop := w.run()
		w.inbox.waitFor(t, "question 1", "bounce 2")
		w.waitFiles(want...)
		stop()

		// What stays is not read again, after a restart neither; what is new is.
		w.deliver(3, "3.person", personMail(3))
		w.run()
		w.inbox.waitFor(t, "question 1", "bounce 2", "question 3")
		if info, err := os.Stat(w.o.StateFile); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: state file: %v, %v", after, info, err)
		}
		b, err := os.ReadFile(filepath.Join(w.o.Dir, "new", "1.person"))
		if err != nil || string(b) != personMail(1) {
			t.Errorf("%s: a person's mail: %q, %v", after, b, err)
		}
	}
}

// TestMaildirWakes: new mail is read as soon as it is there, in the order in which it came.
func TestMaildirWakes(t *testing.T) {
	w := newDirWorld(t, "delete")
	w.deliver(2, "a", bounceMail(2))
	w.deliver(1, "b", bounceMail(1))
	w.run()
	w.inbox.waitFor(t, "bounce 1", "bounce 2")
	for n := 3; n < 6; n++ {
		w.deliver(n, fmt.Sprint(n), bounceMail(n))
		smtptest.WaitFor(t, "the bounce", func() bool { return len(w.inbox.subjects()) == n })
	}
	w.waitFiles()
}

// TestMaildirTrouble: nothing is lost by it, and it is told once.
func TestMaildirTrouble(t *testing.T) {
	w := newDirWorld(t, "delete")
	if err := os.RemoveAll(filepath.Join(w.o.Dir, "new")); err != nil {
		t.Fatal(err)
	}
	w.inbox.set(errors.New("no space left on device"))
	w.run()
	smtptest.WaitFor(t, "the log", func() bool { return strings.Contains(w.log.String(), "no such file") })
	if err := os.Mkdir(filepath.Join(w.o.Dir, "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.deliver(1, "1", bounceMail(1))
	smtptest.WaitFor(t, "the log", func() bool { return strings.Contains(w.log.String(), "no space left") })
	w.inbox.set(nil)
	w.inbox.waitFor(t, "bounce 1")
	w.waitFiles()
	smtptest.WaitFor(t, "the log", func() bool {
		return strings.Contains(w.log.String(), "the maildir is read again")
	})
	if n := strings.Count(w.log.String(), "no space left"); n != 1 {
		t.Errorf("told %d times:\n%s", n, w.log)
	}
}

// TestMaildirOddFiles: what is no file is passed over, and of a long one no more than MaxSize is read.
func TestMaildirOddFiles(t *testing.T) {
	w := newDirWorld(t, "leave")
	w.o.MaxSize = 1000
	if err := os.Mkdir(filepath.Join(w.o.Dir, "new", "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(w.o.Dir, "new", "link")); err != nil {
		t.Fatal(err)
	}
	w.deliver(1, ".hidden", bounceMail(1))
	w.deliver(2, "long", bounceMail(2)+strings.Repeat("x", 10_000))
	w.run()
	w.inbox.waitFor(t, "bounce 2")
	if n := len(w.inbox.mails[0]); n != 1000 {
		t.Errorf("%d bytes", n)
	}
	w.o.After = After{Move, "../elsewhere"}
	if _, err := NewMaildir(w.o); err == nil {
		t.Error("a folder outside the maildir is taken")
	}
}
