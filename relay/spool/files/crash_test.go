package files

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/internal/durable/crashfs"
)

const seeds = 20

// damagedBytes are those of a journal that is set aside: several blocks, and not whole ones.
var damagedBytes = []byte(strings.Repeat("a damaged journal. ", 1000))

// on is a spool's directory on a file system.
func on(f durable.FS) Dir {
	return Dir{Path: "/var/spool", Now: time.Now, Log: slog.New(slog.DiscardHandler), FS: f}
}

// spoolWithJournal makes a spool's directory with a journal in it, durably.
func spoolWithJournal(f *crashfs.FS) {
	d := on(f)
	err := d.Make()
	if err == nil {
		err = durable.WriteFileIn(f, d.File(Journal), damagedBytes, Perm)
	}
	if err != nil {
		panic(err)
	}
}

// copies are the contents of what is in the directory for damaged files.
func copies(t *testing.T, f durable.FS) (contents [][]byte) {
	t.Helper()
	entries, err := f.ReadDir(on(f).File(Damaged))
	if IgnoreMissing(err) != nil {
		t.Fatalf("%s: %v", f, err)
	}
	for _, e := range entries {
		contents = append(contents, crashfs.ReadFile(t, f, on(f).File(Damaged, e.Name())))
	}
	return contents
}

// TestMakeCut: a spool that was made is there after a power cut, with the directories above it.
func TestMakeCut(t *testing.T) {
	for f := range crashfs.Cuts(seeds, nil) {
		err := on(f).Make()
		if info, e := f.Crash().Stat(on(f).File(Contents)); err == nil && (e != nil || !info.IsDir()) {
			t.Errorf("%s: made, and then: %v", f, e)
		}
	}
}

// setAsides are the two ways of setting a file aside, and whether the original stays.
var setAsides = []struct {
	name  string
	run   func(d Dir) (string, error)
	stays bool
}{
	{"SetAside", func(d Dir) (string, error) { return d.SetAside(Journal) }, true},
	{"MoveAside", func(d Dir) (string, error) { return d.MoveAside(Journal) }, false},
}

// TestSetAsideCut: after nil the file is whole under the name that was told. Before, the original is in its
// place, or, when it is moved, whole in one of the two.
func TestSetAsideCut(t *testing.T) {
	for _, c := range setAsides {
		for f := range crashfs.Cuts(seeds, spoolWithJournal) {
			aside, err := c.run(on(f))
			after := f.Crash()
			original := bytes.Equal(crashfs.ReadFile(t, after, on(f).File(Journal)), damagedBytes)
			if err == nil && !bytes.Equal(crashfs.ReadFile(t, after, aside), damagedBytes) {
				t.Errorf("%s: %s: set aside, and then it is not there whole", c.name, f)
			}
			if err == nil && original != c.stays {
				t.Errorf("%s: %s: set aside, and then the original is there: %v", c.name, f, original)
			}
			if !original {
				all := copies(t, after)
				if c.stays || len(all) != 1 || !bytes.Equal(all[0], damagedBytes) {
					t.Errorf("%s: %s: the original is gone, %d files are set aside", c.name, f, len(all))
				}
			}
		}
	}
}

// TestSetAsideErrors: an error is told, the original is in its place, no half copy is in sight, and the next
// call works.
func TestSetAsideErrors(t *testing.T) {
	for _, c := range setAsides {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			for f := range crashfs.Faults(seeds, cause, spoolWithJournal) {
				aside, err := c.run(on(f))
				f.Heal()
				// Where a file that was only read does not close nothing is amiss.
				if told := errors.Is(err, cause); f.Hit() != told &&
					!strings.HasSuffix(f.String(), "close "+on(f).File(Journal)) {
					t.Errorf("%s: %s: error %v", c.name, f, err)
				}
				if err == nil {
					continue
				}
				if aside != "" || len(copies(t, f)) != 0 ||
					!bytes.Equal(crashfs.ReadFile(t, f, on(f).File(Journal)), damagedBytes) {
					t.Errorf("%s: %s: %q, %d files set aside", c.name, f, aside, len(copies(t, f)))
				}
				if aside, err = c.run(on(f)); err != nil {
					t.Errorf("%s: %s: again: %v", c.name, f, err)
				}
				if !bytes.Equal(crashfs.ReadFile(t, f.Crash(), aside), damagedBytes) {
					t.Errorf("%s: %s: again, and then it is not there whole", c.name, f)
				}
			}
		}
	}
}
