package sqlite

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// diskFault is an error of SQLite as a failing disk gives it.
func diskFault(t *testing.T) error {
	t.Helper()
	_, err := database.Open(t.TempDir(), "mode=rw")
	if !database.IsBroken(err) {
		t.Fatalf("opening a directory as a database: %v", err)
	}
	return err
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func putOne(s *Spool, size int) (string, error) {
	m := benchMessage("app@sender.example")
	return m.ID, s.Put(context.Background(), []*relay.Message{m}, bytes.NewReader(make([]byte, size)))
}

// TestCommitFails has a commit fail, before it reached the disk and after. Put must say so and leave
// nothing, a settlement must wait and be written, and all must go on by itself.
func TestCommitFails(t *testing.T) {
	for _, committed := range []bool{false, true} {
		var w watcher
		s := w.open(t, t.TempDir())
		held, err := putOne(s, 100)
		if err != nil {
			t.Fatal(err)
		}
		l := leaseSome(t, s, 1)[0]
		twice := benchMessage("app@sender.example")
		if err := s.Put(t.Context(), []*relay.Message{twice}, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		fault := diskFault(t)
		var failing atomic.Bool
		failing.Store(true)
		passes := 2 // this operation, and that of blockWriter
		s.w.ops.do(t.Context(), &operation{apply: func(*database.Tx) error {
			s.w.fault = func(c bool) error {
				if c != committed || !failing.Load() {
					return nil
				}
				if passes--; passes >= 0 {
					return nil
				}
				return fault
			}
			return nil
		}})
		release := blockWriter(t, s) // so that both are in the batch that fails
		second := make(chan error, 1)
		go func() { second <- s.Put(t.Context(), []*relay.Message{twice}, strings.NewReader("x")) }()
		large := make(chan error, 1)
		refused := benchMessage("app@sender.example")
		go func() {
			large <- s.Put(t.Context(), []*relay.Message{refused},
				bytes.NewReader(make([]byte, 1<<20)))
		}()
		eventually(t, "two operations wait", func() bool {
			s.w.ops.mu.Lock()
			defer s.w.ops.mu.Unlock()
			return len(s.w.ops.queue) == 2
		})
		release()
		for _, err := range []error{<-second, <-large} {
			if !errors.Is(err, relay.ErrUnavailable) {
				t.Errorf("Put on a failing disk: %v", err)
			}
		}
		settled := make(chan error, 1)
		go func() {
			l.Message.Recipients[0].State = relay.Relayed
			settled <- s.Settle(context.Background(), l.Token,
				relay.Settlement{Recipients: l.Message.Recipients})
		}()
		eventually(t, "nothing is leased while outcomes cannot be written", func() bool {
			_, _, err := s.Lease(t.Context(),
				relay.LeaseQuery{Lane: "default", Now: time.Now(), Max: 1, For: time.Hour})
			return errors.Is(err, relay.ErrUnavailable)
		})
		select {
		case err := <-settled:
			t.Errorf("Settle returned %v while nothing could be written", err)
		default:
		}
		failing.Store(false)
		if err := <-settled; err != nil {
			t.Errorf("Settle after the trouble: %v", err)
		}
		eventually(t, "mail is taken again", func() bool { _, err := putOne(s, 10); return err == nil })
		for _, id := range []string{held, refused.ID} {
			if _, err := s.lookUp(id); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("committed %v: the message is there (settled: %v): %v", committed, id == held, err)
			}
		}
		if _, err := s.lookUp(twice.ID); err != nil {
			t.Errorf("committed %v: a message that was acknowledged before: %v", committed, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if names, err := os.ReadDir(s.dir.File(files.Contents)); err != nil || len(names) != 0 {
			t.Errorf("committed %v: %d content files are left, %v", committed, len(names), err)
		}
	}
}

// TestReportCommitFails has the commit of a report seem to fail: told again, the sender gets it once.
func TestReportCommitFails(t *testing.T) {
	for _, committed := range []bool{false, true} {
		var w watcher
		s := w.open(t, t.TempDir())
		if _, err := putOne(s, 10); err != nil {
			t.Fatal(err)
		}
		l := leaseSome(t, s, 1)[0]
		l.Message.Recipients[0].State = relay.Failed
		n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: time.Now()}
		if err := s.Settle(t.Context(), l.Token,
			relay.Settlement{Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}}); err != nil {
			t.Fatal(err)
		}
		fault := diskFault(t)
		failing := true
		s.w.ops.do(t.Context(), &operation{apply: func(*database.Tx) error {
			s.w.fault = func(c bool) error {
				if c != committed || !failing {
					return nil
				}
				failing = false
				return fault
			}
			return nil
		}})
		dsn := benchMessage("")
		dsn.Report = true
		tell := func() error {
			return s.Consume(t.Context(), answer(dsn, "report", n.Entry()))
		}
		tell() // the operation before it may have met the fault
		eventually(t, "the report is stored", func() bool { return tell() == nil })
		if ls := leaseSome(t, s, 5); len(ls) != 1 || ls[0].Message.ID != dsn.ID {
			t.Errorf("committed %v: %d messages are leased, want the report alone", committed, len(ls))
		}
		if due := dueReports(t, s, time.Now()); len(due) != 0 {
			t.Errorf("committed %v: %d notices are due still", committed, len(due))
		}
		s.Close()
	}
}

// blockWriter keeps the writer busy until release is called.
func blockWriter(t *testing.T, s *Spool) (release func()) {
	busy, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go s.w.ops.do(t.Context(), &operation{apply: func(*database.Tx) error {
		once.Do(func() { close(busy) })
		<-end
		return nil
	}})
	<-busy
	return sync.OnceFunc(func() { close(end) })
}

// TestBadOperationCostsItself puts an operation that SQLite refuses among others.
func TestBadOperationCostsItself(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	release := blockWriter(t, s)
	defer release()
	errs := make(chan error, 3)
	go func() { _, err := putOne(s, 10); errs <- err }()
	bad := make(chan error, 1)
	go func() {
		bad <- s.w.ops.do(t.Context(), &operation{apply: func(t *database.Tx) error {
			if _, err := t.Exec("DELETE FROM message"); err != nil {
				return err
			}
			_, err := t.Exec("INSERT INTO meta VALUES (1, 1, 1, 1, 1, 1, 1)")
			return err
		}})
	}()
	go func() { _, err := putOne(s, 10); errs <- err }()
	eventually(t, "three operations wait", func() bool {
		s.w.ops.mu.Lock()
		defer s.w.ops.mu.Unlock()
		return len(s.w.ops.queue) == 3
	})
	release()
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("a good operation beside a bad one: %v", err)
		}
	}
	if err := <-bad; database.Code(err) != 19 {
		t.Errorf("the bad one: %v, want that a constraint failed", err)
	}
	if n := len(leaseSome(t, s, 5)); n != 2 {
		t.Errorf("%d messages are there, want 2", n)
	}
}

func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits Limits
		size   int
		fits   int
	}{
		{"messages", Limits{MaxMessages: 3}, 10, 3},
		{"bytes", Limits{MaxBytes: 2500}, 1000, 2},
		{"bytes in files", Limits{MaxBytes: 5 << 20, InlineLimit: 1024}, 2 << 20, 2},
		{"floor", Limits{FreeFloor: 1 << 60}, 10, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.limits.Reserve = -1
			s := openTest(t, Options{Limits: tc.limits})
			defer s.Close()
			for i := range tc.fits + 2 {
				_, err := putOne(s, tc.size)
				if i < tc.fits && err != nil || i >= tc.fits && !errors.Is(err, relay.ErrFull) {
					t.Errorf("message %d: %v", i+1, err)
				}
			}
			if tc.limits.InlineLimit > 0 {
				eventually(t, "the files of refused messages are removed", func() bool {
					names, _ := os.ReadDir(s.dir.File(files.Contents))
					return len(names) == tc.fits
				})
			}
			if err := s.Admit(); tc.limits.MaxBytes == 0 && !errors.Is(err, relay.ErrFull) {
				t.Errorf("what it says of the next one: %v", err)
			}
			if tc.fits == 0 {
				return
			}
			l := leaseSome(t, s, 1)[0]
			l.Message.Recipients[0].State = relay.Relayed
			if err := s.Settle(t.Context(), l.Token,
				relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
				t.Fatal(err)
			}
			if _, err := putOne(s, tc.size); err != nil {
				t.Errorf("after one has gone: %v", err)
			}
			if err := s.Admit(); tc.limits.MaxMessages == 0 && err != nil {
				t.Errorf("there is room for a small one, but: %v", err)
			}
		})
	}
}

// smallDisk mounts a file system of size bytes for a test.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("skipping: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestFullDisk fills the disk to the last byte: new mail is refused, outcomes are written, and with them it
// ends.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "size=32m") // a quarter is the journal
	var w watcher
	w.named = map[string]bool{}
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&w, nil)),
		Limits: Limits{FreeFloor: -1, Reserve: 4 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stored := 0
	for stored < 10000 {
		if _, err = putOne(s, 64<<10); err != nil {
			break
		}
		stored++
	}
	if !errors.Is(err, relay.ErrFull) || stored < 50 {
		t.Fatalf("after %d messages: %v", stored, err)
	}
	if _, err := putOne(s, 1<<20); !errors.Is(err, relay.ErrFull) {
		t.Errorf("a message for a file of its own: %v", err)
	}
	for n := stored; n > 0; {
		ls := leaseSome(t, s, 10)
		if len(ls) == 0 {
			t.Fatalf("nothing to lease with %d messages left\n%s", n, w.String())
		}
		for _, l := range ls {
			l.Message.Recipients[0].State = relay.Relayed
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if err := s.Settle(ctx, l.Token, relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
				t.Fatalf("Settle on the full disk: %v\n%s", err, w.String())
			}
			cancel()
			n--
		}
	}
	eventually(t, "mail is taken again", func() bool {
		s.w.housekeep()
		_, err := putOne(s, 64<<10)
		return err == nil
	})
	if !strings.Contains(w.String(), "can be written again") {
		t.Errorf("the log does not tell of it:\n%s", w.String())
	}
}

// TestNoInodes has the disk run out of names for files: large messages are refused, small ones go on.
func TestNoInodes(t *testing.T) {
	dir := smallDisk(t, "size=64m,nr_inodes=12")
	s := openTest(t, Options{Dir: dir, Limits: Limits{FreeFloor: -1, Reserve: -1}})
	defer s.Close()
	var err error
	for range 20 {
		if _, err = putOne(s, 1<<20); err != nil {
			break
		}
	}
	if !errors.Is(err, relay.ErrFull) {
		t.Errorf("a large message without an inode: %v", err)
	}
	if _, err := putOne(s, 100); err != nil {
		t.Errorf("a small message: %v", err)
	}
}
