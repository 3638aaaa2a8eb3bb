package deliverylog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// open makes a Log that is closed when the test ends.
func open(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// numbered is an event that can be told from others.
func numbered(session, n int) relay.Event {
	return relay.Event{Time: at, Kind: relay.EventRelayed, ID: fmt.Sprintf("%d-%d", session, n),
		To: "a@b.test"}
}

// parsed are the events of a file.
func parsed(t *testing.T, b []byte) (events []record.Event) {
	t.Helper()
	for text := range bytes.Lines(b) {
		e, err := record.Parse(text)
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		events = append(events, e)
	}
	return events
}

func TestConcurrentRecordsKeepTheirOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	l := open(t, Options{File: file})
	const sessions, each = 8, 500
	var wg sync.WaitGroup
	for s := range sessions {
		wg.Go(func() {
			for n := range each {
				l.Record(numbered(s, n))
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	next := make([]int, sessions)
	for _, line := range parsed(t, b) {
		var s, n int
		fmt.Sscanf(line.ID, "%d-%d", &s, &n)
		if n != next[s] {
			t.Fatalf("%s came when %d was next", line.ID, next[s])
		}
		next[s]++
	}
	for s, n := range next {
		if n != each {
			t.Errorf("session %d: %d of %d lines", s, n, each)
		}
	}
	if got := l.Stats(); got != (Stats{Written: sessions * each}) {
		t.Errorf("%+v", got)
	}
}

func TestFlushAndReopen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "log")
	l := open(t, Options{File: file})
	l.Record(numbered(1, 1))
	l.Flush()
	if b, _ := os.ReadFile(file); len(parsed(t, b)) != 1 {
		t.Errorf("after Flush: %q", b)
	}
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	l.Record(numbered(1, 2))
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Record(numbered(1, 3))
	l.Flush()
	old, _ := os.ReadFile(file + ".1")
	now, _ := os.ReadFile(file)
	if o, n := parsed(t, old), parsed(t, now); len(o) != 2 || len(n) != 1 || n[0].ID != "1-3" {
		t.Errorf("old %q, new %q", old, now)
	}
	if info, _ := os.Stat(file); info.Mode().Perm()&0o007 != 0 {
		t.Errorf("the world may read it: %v", info.Mode())
	}
}

// TestNarrowsWideLog: a file that the world may read when it is opened is narrowed, and that is told once; a
// group may go on reading.
func TestNarrowsWideLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for mode, want := range map[os.FileMode]os.FileMode{0o644: 0o640, 0o666: 0o640, 0o604: 0o600,
		0o640: 0o640,
		0o600: 0o600} {
		os.WriteFile(file, nil, 0o600)
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		l := open(t, Options{File: file, Log: slog.New(slog.NewTextHandler(&told, nil))})
		l.Close()
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%v became %v, want %v; %v", mode, info.Mode(), want, err)
		}
		if strings.Contains(told.String(), file) != (mode != want) {
			t.Errorf("%v: the log has %q", mode, told.String())
		}
	}
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, Options{File: filepath.Join(dir, "log")})
	moved := dir + "2"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil || !strings.Contains(err.Error(), "delivery log") {
		t.Errorf("got %v", err)
	}
	l.Record(numbered(1, 1))
	l.Flush()
	if b, _ := os.ReadFile(filepath.Join(moved, "log")); len(parsed(t, b)) != 1 {
		t.Errorf("the old file holds %q", b)
	}
}

func TestAppendsToWhatIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for n := range 2 {
		l := open(t, Options{File: file})
		l.Record(numbered(1, n))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(file); len(parsed(t, b)) != 2 {
		t.Errorf("got %q", b)
	}
}

// TestBlockedOutputSlows fills a pipe that nobody reads: Record must block at the bound, and nothing may be
// lost once somebody reads.
func TestBlockedOutputSlows(t *testing.T) {
	r, w := io.Pipe()
	l := open(t, Options{Out: w})
	const n = 20_000 // several times the bound
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			l.Record(numbered(1, i))
		}
	}()
	select {
	case <-done:
		t.Fatal("nothing blocked")
	case <-time.After(100 * time.Millisecond):
	}
	l.mu.Lock()
	waiting := len(l.waiting)
	l.mu.Unlock()
	if waiting > maxWaiting+1024 {
		t.Errorf("%d bytes wait, over %d", waiting, maxWaiting)
	}
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(r)
		got <- b
	}()
	<-done
	l.Close()
	w.Close()
	if lines := parsed(t, <-got); len(lines) != n {
		t.Errorf("%d of %d lines", len(lines), n)
	}
}

// failing is an output that takes some bytes of each write, and fails while it is told to.
type failing struct {
	bytes.Buffer
	broken bool
	take   int
}

func (f *failing) Write(b []byte) (int, error) {
	if !f.broken {
		return f.Buffer.Write(b)
	}
	n := min(f.take, len(b))
	f.Buffer.Write(b[:n])
	return n, errors.New("no space left on device")
}

func TestWriteErrorIsLoudAndCounted(t *testing.T) {
	for _, text := range []bool{false, true} {
		var operational bytes.Buffer
		out := &failing{broken: true, take: 30}
		l := open(t, Options{Out: out, Format: map[bool]Format{true: Text}[text],
			Log: slog.New(slog.NewTextHandler(&operational, nil))})
		for n := range 3 {
			l.Record(numbered(1, n))
			l.Flush()
		}
		out.broken = false
		l.Record(relay.Event{
			Time: at, Kind: relay.EventDeferred, ID: "06FZQ3", To: "user@y.test",
			Tried: &relay.Attempt{Reply: diagnose.ParseReply(
				"452-4.2.2 The recipient's inbox is\r\n452 4.2.2 out of storage space\r\n")},
			Diagnosis: &diagnose.Diagnosis{
				Category: diagnose.MailboxFull, Reason: "mailbox_full", Owner: diagnose.OwnerRecipient,
				Fix: []string{"Wait."},
			},
		})
		l.Close()
		if got, want := l.Stats(), (Stats{Written: 1, Lost: 3}); got != want {
			t.Errorf("text %v: %+v, want %+v", text, got, want)
		}
		if s := operational.String(); strings.Count(s, "level=ERROR") != 1 ||
			!strings.Contains(s, "no space left") || !strings.Contains(s, "written again") {
			t.Errorf("operational log: %s", s)
		}
		last := out.String()[strings.LastIndex(strings.TrimSuffix(out.String(), "\n"), "\n")+1:]
		if !text {
			if _, err := record.Parse([]byte(last)); err != nil {
				t.Errorf("the line after the broken one is %q: %v", last, err)
			}
		}
	}
}

func TestRecordAfterClose(t *testing.T) {
	var operational bytes.Buffer
	l := open(t, Options{Out: io.Discard, Log: slog.New(slog.NewTextHandler(&operational, nil))})
	l.Close()
	l.Record(numbered(1, 1))
	if l.Stats().Lost != 1 || !strings.Contains(operational.String(), "level=ERROR") {
		t.Errorf("%+v, %s", l.Stats(), operational.String())
	}
}

func TestTextMode(t *testing.T) {
	var out bytes.Buffer
	l := open(t, Options{Out: &out, Format: Text})
	l.Record(relay.Event{
		Time: at, Kind: relay.EventDeferred, ID: "06FZQ3", To: "user@y.test",
		Tried: &relay.Attempt{Reply: diagnose.ParseReply(
			"452-4.2.2 The recipient's inbox is\r\n452 4.2.2 out of storage space\r\n")},
		Diagnosis: &diagnose.Diagnosis{
			Category: diagnose.MailboxFull, Reason: "mailbox_full", Owner: diagnose.OwnerRecipient,
			Fix: []string{"Wait."},
		},
	})
	l.Close()
	for _, want := range []string{"deferred", "452 4.2.2 The recipient's inbox is out of storage space",
		"\n    reason    mailbox full: the recipient must act (Mailbox Full)\n",
		"\n    fix       1. Wait.\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

func TestOpenMistakes(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no output, no error")
	}
	if _, err := New(Options{File: filepath.Join(t.TempDir(), "no", "log")}); err == nil ||
		!strings.HasPrefix(err.Error(), "delivery log: ") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := New(Options{File: filepath.Join(b.TempDir(), "log")})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := numbered(1, 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Record(e)
		}
	})
}
