package runstate

import (
	"errors"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
	"mailwhy/relay/internal/durable/crashfs"
)

const (
	name  = "/spool/run"
	seeds = 20
)

// ids are those of three messages.
var ids = []string{relay.NewID(time.Unix(1, 0)), relay.NewID(time.Unix(2, 0)), relay.NewID(time.Unix(3, 0))}

// TestReopen: what a process left is what the next one reads.
func TestReopen(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(f *File) error
		want Last
	}{
		{"killed", func(f *File) error { return f.f.Close() },
			Last{Commits: 7, Leased: []string{ids[2], ids[1]}, Known: true}},
		{"ended in disorder", func(f *File) error { return f.Close(false) },
			Last{Commits: 7, Leased: []string{ids[2], ids[1]}, Known: true}},
		{"closed in order", func(f *File) error { return f.Close(true) },
			Last{Commits: 7, Clean: true, Known: true}},
	} {
		name := filepath.Join(t.TempDir(), "run")
		f, was, err := Open(name)
		if err != nil || was.Known {
			t.Fatal(was, err)
		}
		if err := f.Begin(5); err != nil {
			t.Fatal(err)
		}
		row := f.Add(ids[0])
		f.Add(ids[1])
		f.Clear(row, true)
		f.Add(ids[2]) // in the row that is free
		f.Committed(7)
		if err := c.end(f); err != nil {
			t.Fatal(err)
		}
		f, was, err = Open(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Close(false)
		if was.Commits != c.want.Commits || was.Clean != c.want.Clean || was.Known != c.want.Known ||
			!slices.Equal(was.Leased, c.want.Leased) {
			t.Errorf("%s: %+v, want %+v", c.name, was, c.want)
		}
	}
}

// TestOpenFrom: the file of an earlier format counts while there is none of this one.
func TestOpenFrom(t *testing.T) {
	dir := t.TempDir()
	old, name := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	run := func(name, old string, commits int64) (was Last) {
		f, was, err := OpenFrom(name, old)
		if err == nil {
			err = errors.Join(f.Begin(commits), f.Close(true))
		}
		if err != nil {
			t.Fatal(err)
		}
		return was
	}
	if was := run(old, filepath.Join(dir, "missing"), 3); was.Known {
		t.Errorf("of nothing: %+v", was)
	}
	if was := run(name, old, 4); was.Commits != 3 || !was.Clean {
		t.Errorf("of the old one: %+v, want 3 commits", was)
	}
	if was := run(name, old, 5); was.Commits != 4 || !was.Clean {
		t.Errorf("of the new one: %+v, want 4 commits", was)
	}
}

// inOrder leaves the run state of a spool that was closed in order after 20 commits, durably.
func inOrder(f *crashfs.FS) {
	if err := durable.MkdirAll(f, "/spool", 0o700); err != nil {
		panic(err)
	}
	r, _, err := open(f, name, "")
	if err == nil {
		err = errors.Join(r.Begin(18), r.Close(true))
	}
	if err != nil {
		panic(err)
	}
}

// none is a directory without a run state.
func none(f *crashfs.FS) {
	if err := durable.MkdirAll(f, "/spool", 0o700); err != nil {
		panic(err)
	}
}

// progress is how far a run came.
type progress struct{ begun, closing, closed bool }

// run is the life of a process: 20 commits at its begin, 23 at its end. It goes on after errors that are
// not told.
func run(fsys durable.FS) (p progress, err error) {
	f, _, err := open(fsys, name, "")
	if err != nil {
		return p, err
	}
	if err := f.Begin(20); err != nil {
		return p, errors.Join(err, f.Close(false))
	}
	p.begun = true
	f.Committed(21)
	row := f.Add(ids[0])
	f.Add(ids[1])
	f.Committed(22)
	f.Clear(row, false)
	f.Add(ids[2])
	f.Committed(23)
	p.closing = true
	err = f.Close(true)
	p.closed = err == nil
	return p, err
}

// check tells what a run state says that cannot be, after a run that came so far.
func check(was Last, p progress) string {
	foreign := func(id string) bool { return !slices.Contains(ids, id) }
	switch {
	case was.Commits > 23:
		return "more commits than there were"
	case slices.ContainsFunc(was.Leased, foreign):
		return "a lease that never was"
	case p.begun && (!was.Known || was.Commits < 20):
		return "forgot that the spool was opened"
	case was.Clean && p.begun && !p.closing:
		return "a spool that was open passes for closed"
	case was.Clean && was.Commits != 18 && was.Commits != 23:
		return "closed in order after other commits"
	case p.closed && (!was.Clean || was.Commits != 23 || len(was.Leased) > 0):
		return "not closed as it was"
	}
	return ""
}

// TestCut cuts the power after each operation of a process that finds no run state, or one.
func TestCut(t *testing.T) {
	for _, before := range []func(*crashfs.FS){none, inOrder} {
		for f := range crashfs.Cuts(seeds, before) {
			p, _ := run(f)
			_, was, err := open(f.Crash(), name, "")
			if wrong := check(was, p); wrong != "" || err != nil {
				t.Errorf("%s: %s: %+v, %v", f, wrong, was, err)
			}
		}
	}
}

// TestErrors has each operation fail: an error of opening, beginning or closing is told, others cost only
// what the file would have said, and the next process works.
func TestErrors(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		for f := range crashfs.Faults(seeds, cause, inOrder) {
			p, err := run(f)
			f.Heal()
			if !p.closed && !errors.Is(err, cause) {
				t.Errorf("%s: error %v", f, err)
			}
			_, was, err := open(f, name, "")
			p.begun, p.closed = false, false // what a failed write should have said is not known
			if wrong := check(was, p); wrong != "" || err != nil {
				t.Errorf("%s: %s: %+v, %v", f, wrong, was, err)
			}
			p, err = run(f)
			_, was, e := open(f.Crash(), name, "")
			if wrong := check(was, p); wrong != "" || errors.Join(err, e) != nil {
				t.Errorf("%s: the next one: %s: %+v, %v", f, wrong, was, errors.Join(err, e))
			}
		}
	}
}
