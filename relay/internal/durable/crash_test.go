package durable_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/internal/durable/crashfs"
)

const seeds = 20

var (
	old  = []byte(strings.Repeat("old bytes ", 1000))
	text = []byte(strings.Repeat("new text ", 2000))
)

// read reads a file; one that is missing has no bytes.
func read(t *testing.T, f durable.FS, name string) (b []byte, there bool) {
	t.Helper()
	h, err := f.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if err == nil {
		defer h.Close()
		b, err = io.ReadAll(h)
	}
	if err != nil {
		t.Fatalf("%s: reading %s: %v", f, name, err)
	}
	return b, true
}

// names lists a directory.
func names(t *testing.T, f durable.FS, dir string) (names []string) {
	t.Helper()
	entries, err := f.ReadDir(dir)
	if err != nil {
		t.Fatalf("%s: %v", f, err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// stored makes /d/old durable.
func stored(f *crashfs.FS) {
	if err := durable.MkdirAll(f, "/d", 0o700); err != nil {
		panic(err)
	}
	if err := durable.WriteFileIn(f, "/d/old", old, 0o600); err != nil {
		panic(err)
	}
}

// create makes a new file in pieces, as content arrives.
func create(f durable.FS, name string) error {
	c, err := durable.CreateIn(f, name, 0o600)
	if err != nil {
		return err
	}
	for piece := range bytes.SplitAfterSeq(text, []byte(strings.Repeat("new text ", 500))) {
		if _, err := c.Write(piece); err != nil {
			c.Abort()
			return err
		}
	}
	return c.Commit()
}

// TestCreateCut: after nil the file is there and whole. Before, it may be there by half: its name is told to
// nobody, and the spool looks for such files at a start.
func TestCreateCut(t *testing.T) {
	for f := range crashfs.Cuts(seeds, stored) {
		err := create(f, "/d/x")
		after := f.Crash()
		if got, _ := read(t, after, "/d/x"); err == nil && !bytes.Equal(got, text) {
			t.Errorf("%s: created, and then %d bytes of %d are there", f, len(got), len(text))
		}
		if got, _ := read(t, after, "/d/old"); !bytes.Equal(got, old) {
			t.Errorf("%s: another file was changed", f)
		}
	}
}

// TestWriteFileCut: after nil the new bytes are there, before then the old ones or the new ones; where there
// was no file, none or the new one.
func TestWriteFileCut(t *testing.T) {
	for name, before := range map[string][]byte{"/d/old": old, "/d/x": nil} {
		for f := range crashfs.Cuts(seeds, stored) {
			err := durable.WriteFileIn(f, name, text, 0o600)
			got, there := read(t, f.Crash(), name)
			if whole := there && bytes.Equal(got, text); !whole && (err == nil || !bytes.Equal(got, before)) {
				t.Errorf("%s: WriteFile of %s: %v, then %d bytes are there", f, name, err, len(got))
			}
		}
	}
}

// TestMkdirAllCut: after nil the directory is there, and what is made durable in it.
func TestMkdirAllCut(t *testing.T) {
	for f := range crashfs.Cuts(seeds, nil) {
		err := durable.MkdirAll(f, "/a/b/c", 0o700)
		if info, e := f.Crash().Stat("/a/b/c"); err == nil && (e != nil || !info.IsDir()) {
			t.Errorf("%s: made, and then: %v", f, e)
		}
	}
}

// TestErrors has each operation of each writer fail: the error is told, nothing half is left in sight, and
// the same call succeeds once the disk works again, durably.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(f durable.FS) error
		file  string
		keeps []byte
	}{
		{"Create", func(f durable.FS) error { return create(f, "/d/x") }, "/d/x", nil},
		{"WriteFile anew", func(f durable.FS) error { return durable.WriteFileIn(f, "/d/x", text, 0o600) },
			"/d/x", nil},
		{"WriteFile", func(f durable.FS) error { return durable.WriteFileIn(f, "/d/old", text, 0o600) },
			"/d/old", old},
		{"MkdirAll", func(f durable.FS) error {
			if err := durable.MkdirAll(f, "/d/a/b", 0o700); err != nil {
				return err
			}
			f.(*crashfs.FS).Heal()
			return durable.WriteFileIn(f, "/d/a/b/x", text, 0o600)
		}, "/d/a/b/x", nil},
	} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			for f := range crashfs.Faults(seeds, cause, stored) {
				err := c.write(f)
				f.Heal()
				if f.Hit() != errors.Is(err, cause) {
					t.Errorf("%s: %s: error %v", c.name, f, err)
				}
				if got, there := read(t, f, c.file); err != nil && there && !bytes.Equal(got, text) &&
					!bytes.Equal(got, c.keeps) {
					t.Errorf("%s: %s: %d bytes are left", c.name, f, len(got))
				}
				for _, name := range names(t, f, "/d") {
					if strings.Contains(name, ".tmp-") {
						t.Errorf("%s: %s: %s is left", c.name, f, name)
					}
				}
				if err == nil {
					continue
				}
				if err := c.write(f); err != nil && !errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: %s: again: %v", c.name, f, err)
				}
				if got, _ := read(t, f.Crash(), c.file); !bytes.Equal(got, text) {
					t.Errorf("%s: %s: again, and then %d bytes are there", c.name, f, len(got))
				}
			}
		}
	}
}

// TestReserveErrors: after an error no file takes space, and the next call reserves it.
func TestReserveErrors(t *testing.T) {
	const size = 200_000
	for f := range crashfs.Faults(1, syscall.ENOSPC, nil) {
		err := durable.ReserveIn(f, "/reserve", size)
		f.Heal()
		if f.Hit() != errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: error %v", f, err)
		}
		if _, there := read(t, f, "/reserve"); there != (err == nil) {
			t.Errorf("%s: %v, and the file is there: %v", f, err, there)
		}
		if err := durable.ReserveIn(f, "/reserve", size); err != nil {
			t.Errorf("%s: again: %v", f, err)
		}
	}
	f := crashfs.New(1) // one that cannot reserve
	f.Fail(crashfs.Allocate, 1, syscall.EOPNOTSUPP)
	if err := durable.ReserveIn(f, "/reserve", size); err != nil {
		t.Fatal(err)
	}
	if b, _ := read(t, f, "/reserve"); len(b) != size {
		t.Errorf("%d bytes are written, want %d", len(b), size)
	}
}

// TestMkdirAllUnderFile: what is not a directory is not taken for one.
func TestMkdirAllUnderFile(t *testing.T) {
	f := crashfs.New(1)
	stored(f)
	for _, path := range []string{"/d/old", "/d/old/a", "/d/old/a/b"} {
		if err := durable.MkdirAll(f, path, 0o700); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v, want that it is not a directory", path, err)
		}
	}
}
