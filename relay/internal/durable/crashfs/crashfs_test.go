package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"mailwhy/relay/internal/durable"
)

const (
	before = "the old bytes"
	seeds  = 40
)

// after is more than a block, and ends within one.
var after = strings.Repeat("the new bytes. ", 600)

// stored makes a file that is durable, in a directory that is.
func stored(f *FS) {
	err := errors.Join(f.Mkdir("/d", 0o700), f.SyncDir("/"),
		with(f, "/d/x", func(h durable.Handle) error {
			_, err := h.Write([]byte(before))
			return errors.Join(err, h.Sync())
		}), f.SyncDir("/d"))
	if err != nil {
		panic(err)
	}
}

// writer is a way to replace the file /d/x. It returns nil when that is durable.
type writer func(f durable.FS) error

// beside writes a file beside the old one, renames it, and does of the rest what it is told.
func beside(syncFile, syncDir bool) writer {
	return func(f durable.FS) error {
		err := with(f, "/d/y", func(h durable.Handle) error {
			_, err := h.Write([]byte(after))
			if err == nil && syncFile {
				err = h.Sync()
			}
			return err
		})
		if err == nil {
			err = f.Rename("/d/y", "/d/x")
		}
		if err == nil && syncDir {
			err = f.SyncDir("/d")
		}
		return err
	}
}

// overwrite writes over the old bytes.
func overwrite(f durable.FS) error {
	h, err := f.OpenFile("/d/x", os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = h.Write([]byte(after))
	if err == nil {
		err = h.Sync()
	}
	return errors.Join(err, h.Close())
}

// askAgain has a sync that failed run once more, as if that wrote what the first one did not.
func askAgain(f durable.FS) error {
	err := with(f, "/d/y", func(h durable.Handle) error {
		if _, err := h.Write([]byte(after)); err != nil {
			return err
		}
		if h.Sync() == nil {
			return nil
		}
		return h.Sync()
	})
	if err == nil {
		err = f.Rename("/d/y", "/d/x")
	}
	if err == nil && f.SyncDir("/d") != nil {
		err = f.SyncDir("/d")
	}
	return err
}

// newFirst makes the new file under its name and says yes only when the file is durable; that its name is it
// forgets.
func newFirst(f durable.FS) error {
	return errors.Join(f.Remove("/d/x"), with(f, "/d/x", func(h durable.Handle) error {
		_, err := h.Write([]byte(after))
		if err == nil {
			err = h.Sync()
		}
		return err
	}))
}

// TestWriters has writers replace a file that was durable: a good one has the old bytes or the new ones after
// every cut, and the new ones once it said so. The bad ones have to be caught, each at what it leaves out.
func TestWriters(t *testing.T) {
	for _, c := range []struct {
		name       string
		write      writer
		half, lost bool // it may leave half a file; say yes and have lost it
	}{
		{"good", beside(true, true), false, false},
		{"file not synced", beside(false, true), true, true},
		{"directory not synced", beside(true, false), false, true},
		{"nothing synced", beside(false, false), true, true},
		{"written over", overwrite, true, false},
		{"new file's name not synced", newFirst, true, true},
		{"good until asked again", askAgain, false, false},
	} {
		half, lost := 0, 0
		for f := range Cuts(seeds, stored) {
			said := c.write(f)
			got, err := read(f.Crash(), "/d/x")
			switch {
			case err != nil || got != before && got != after:
				half++
				if said == nil {
					lost++
				}
			case said == nil && got != after:
				lost++
			}
		}
		if half > 0 != c.half || lost > 0 != c.lost {
			t.Errorf("%s: %d times neither old nor new, %d times lost after a yes; want some: %v, %v",
				c.name, half, lost, c.half, c.lost)
		}
	}
}

// TestSyncFailsOnce: after a sync that failed one that says yes may have written nothing.
func TestSyncFailsOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		op    Op
		write writer
		lost  bool
	}{
		{"file, asked again", Sync, askAgain, true},
		{"directory, asked again", SyncDir, askAgain, true},
		{"file, given up", Sync, beside(true, true), false},
		{"directory, given up", SyncDir, beside(true, true), false},
	} {
		lost := 0
		for seed := range uint64(seeds) {
			f := New(seed)
			stored(f)
			f.Fail(c.op, 1, syscall.EIO)
			said := c.write(f)
			if !f.Hit() {
				t.Fatalf("%s: no %s failed", c.name, c.op)
			}
			// What programs see is not what the disk has.
			if seen, err := read(f, "/d/x"); said == nil && (err != nil || seen != after) {
				t.Errorf("%s: %s: programs see %.20q, %v", c.name, f, seen, err)
			}
			got, err := read(f.Crash(), "/d/x")
			if said == nil && (err != nil || got != after) {
				lost++
			}
			if said != nil && !errors.Is(said, syscall.EIO) {
				t.Errorf("%s: error %v", c.name, said)
			}
		}
		if lost > 0 != c.lost {
			t.Errorf("%s: %d of %d lost after a yes, want some: %v", c.name, lost, seeds, c.lost)
		}
	}
}

// outcomes counts what is left of a run on so many seeds.
func outcomes(t *testing.T, run func(f *FS) error, left func(f *FS) string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for seed := range uint64(200) {
		f := New(seed)
		stored(f)
		if err := run(f); err != nil {
			t.Fatal(err)
		}
		seen[left(f.Crash())]++
	}
	return seen
}

// TestBlocksInAnyOrder: of blocks that were written and not synced any may be there without the others.
func TestBlocksInAnyOrder(t *testing.T) {
	run := func(f *FS) error {
		return with(f, "/d/y", func(h durable.Handle) error {
			if err := errors.Join(h.Truncate(3*blockSize), h.Sync(), f.SyncDir("/d")); err != nil {
				return err
			}
			for i := range 3 {
				h.WriteAt([]byte(strings.Repeat("x", blockSize)), int64(i*blockSize))
			}
			return nil
		})
	}
	seen := outcomes(t, run, func(f *FS) string {
		text, _ := read(f, "/d/y")
		if len(text) != 3*blockSize {
			t.Fatalf("%d bytes", len(text))
		}
		shape := ""
		for i := range 3 {
			switch n := strings.Count(text[i*blockSize:(i+1)*blockSize], "x"); {
			case n == 0:
				shape += "-"
			case n == blockSize:
				shape += "x"
			case n%sectorSize == 0:
				shape += "/"
			default:
				t.Fatalf("a sector is torn: %d bytes of a block", n)
			}
		}
		return shape
	})
	for _, shape := range []string{"---", "xxx", "--x", "x--", "-x-", "x-x", "-/-"} {
		if seen[shape] == 0 {
			t.Errorf("never %s: %v", shape, seen)
		}
	}
}

// TestLengthWithoutBytes: a new file may have its length and not its bytes, but what another file left.
func TestLengthWithoutBytes(t *testing.T) {
	run := func(f *FS) error { return errors.Join(put(f, "/d/y", "new"), f.SyncDir("/d")) }
	seen := outcomes(t, run, func(f *FS) string { text, _ := read(f, "/d/y"); return text })
	for _, text := range []string{"", "new", "\x00\x00\x00", "\xa5\xa5\xa5"} {
		if seen[text] == 0 {
			t.Errorf("never %q: %v", text, seen)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%v", seen)
	}
}

// TestOldVersions: of two writes to a block the first may be there without the second.
func TestOldVersions(t *testing.T) {
	run := func(f *FS) error {
		h, err := f.OpenFile("/d/x", os.O_WRONLY, 0)
		if err == nil {
			h.WriteAt([]byte("1"), 0)
			h.WriteAt([]byte("2"), 0)
		}
		return err
	}
	seen := outcomes(t, run, func(f *FS) string { text, _ := read(f, "/d/x"); return text[:1] })
	if len(seen) != 3 || seen["t"] == 0 || seen["1"] == 0 || seen["2"] == 0 {
		t.Errorf("%v, want old, first and second", seen)
	}
}

// TestRenameIsAtomic: a durable file has its old name or its new one, between two directories perhaps both,
// and the new one once that directory was synced.
func TestRenameIsAtomic(t *testing.T) {
	names := func(f *FS) (s string) {
		for _, name := range []string{"/d/x", "/d/y", "/e/y"} {
			if text, err := read(f, name); err == nil && text == before {
				s += name + " "
			}
		}
		return s
	}
	mkdir := func(f *FS) error { return errors.Join(f.Mkdir("/e", 0o700), f.SyncDir("/")) }
	for _, c := range []struct {
		name string
		run  func(f *FS) error
		want []string
	}{
		{"in a directory", func(f *FS) error { return f.Rename("/d/x", "/d/y") }, []string{"/d/x ", "/d/y "}},
		{"between two", func(f *FS) error { return errors.Join(mkdir(f), f.Rename("/d/x", "/e/y")) },
			[]string{"/d/x ", "/e/y ", "/d/x /e/y "}},
		{"new directory synced", func(f *FS) error {
			return errors.Join(mkdir(f), f.Rename("/d/x", "/e/y"), f.SyncDir("/e"))
		}, []string{"/e/y ", "/d/x /e/y "}},
		{"old directory synced", func(f *FS) error {
			return errors.Join(mkdir(f), f.Rename("/d/x", "/e/y"), f.SyncDir("/d"))
		}, []string{"/e/y "}},
		{"after a removal", func(f *FS) error {
			return errors.Join(mkdir(f), put(f, "/e/y", ""), f.Remove("/e/y"), f.Rename("/d/x", "/e/y"),
				f.SyncDir("/d"))
		}, []string{"/e/y "}},
	} {
		seen := outcomes(t, c.run, names)
		for _, want := range c.want {
			if seen[want] == 0 {
				t.Errorf("%s: never %s", c.name, want)
			}
		}
		if len(seen) != len(c.want) {
			t.Errorf("%s: %v, want %q", c.name, seen, c.want)
		}
	}
}

// TestNames: those that were made and removed may be there or not, until their directory is synced.
func TestNames(t *testing.T) {
	list := func(f *FS) (s string) {
		entries, _ := f.ReadDir("/d")
		for _, e := range entries {
			s += e.Name() + " "
		}
		return s
	}
	run := func(f *FS) error {
		return errors.Join(f.Remove("/d/x"), put(f, "/d/y", ""), f.Mkdir("/d/z", 0o700), put(f, "/d/z/y", ""),
			f.SyncDir("/d/z"))
	}
	seen := outcomes(t, run, list)
	if len(seen) != 8 {
		t.Errorf("%v, want each of three changes with and without the others", seen)
	}
	seen = outcomes(t, func(f *FS) error { return errors.Join(run(f), f.SyncDir("/d")) }, list)
	if len(seen) != 1 || seen["y z "] == 0 {
		t.Errorf("after a sync: %v", seen)
	}
}

// TestFail has each kind of operation fail at its second call, once.
func TestFail(t *testing.T) {
	f := New(1)
	stored(f)
	h, err := f.OpenFile("/d/x", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	ops := map[Op]func() error{
		Open:     func() error { _, err := f.OpenFile("/d/x", os.O_RDONLY, 0); return err },
		Read:     func() error { _, err := h.ReadAt(make([]byte, 1), 0); return err },
		Write:    func() error { _, err := h.WriteAt([]byte("abc"), 0); return err },
		Truncate: func() error { return h.Truncate(10) },
		Allocate: func() error { return h.Allocate(10) },
		Sync:     func() error { return h.SyncData() },
		Rename:   func() error { return f.Rename("/d/x", "/d/x") },
		Mkdir: func() error {
			if err := f.Mkdir("/d/new", 0o700); err != nil {
				return err
			}
			return f.Remove("/d/new")
		},
		Remove:  func() error { return errors.Join(put(f, "/d/y", ""), f.Remove("/d/y")) },
		Stat:    func() error { _, err := f.Stat("/d/x"); return err },
		ReadDir: func() error { _, err := f.ReadDir("/d"); return err },
		SyncDir: func() error { return f.SyncDir("/d") },
		Close: func() error {
			h, err := f.OpenFile("/d/x", os.O_RDONLY, 0)
			if err == nil {
				err = h.Close()
				if h.Close() == nil {
					t.Error("closed twice")
				}
			}
			return err
		},
	}
	for op, run := range ops {
		f.Fail(op, 2, syscall.ENOSPC)
		first, hit := run(), f.Hit()
		second := run()
		hitThen := f.Hit()
		f.Remove("/d/y")
		third := run()
		if first != nil || hit || !errors.Is(second, syscall.ENOSPC) || !hitThen || third != nil {
			t.Errorf("%s: %v, %v, %v; want the second to fail", op, first, second, third)
		}
		var p *fs.PathError
		var l *os.LinkError
		if !errors.As(second, &p) && !errors.As(second, &l) {
			t.Errorf("%s: %T does not name a path", op, second)
		}
	}
}

// TestFailedWriteIsShort: a write that fails has written a part, and says how much.
func TestFailedWriteIsShort(t *testing.T) {
	lengths := make(map[int]bool)
	for seed := range uint64(50) {
		f := New(seed)
		f.Fail(Write, 1, syscall.ENOSPC)
		with(f, "/x", func(h durable.Handle) error {
			n, err := h.Write([]byte("abc"))
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%d, %v", n, err)
			}
			if err := holds(f, "/x", "abc"[:n]); err != nil {
				t.Error(err)
			}
			lengths[n] = true
			return nil
		})
	}
	if len(lengths) != 4 {
		t.Errorf("lengths %v, want 0 to 3", lengths)
	}
}

// TestCut: when the power has gone nothing works any more, on what was opened before neither.
func TestCut(t *testing.T) {
	f := New(1)
	stored(f)
	h, err := f.OpenFile("/d/x", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.CutAfter(1)
	if err := h.Sync(); err != nil || f.Hit() {
		t.Fatal(err, f.Hit())
	}
	for i, err := range []error{h.Sync(), f.Rename("/d/x", "/d/y"), f.Remove("/d/x"), h.Close(),
		f.SyncDir("/d")} {
		if !errors.Is(err, ErrPowerCut) {
			t.Errorf("operation %d after the cut: %v", i, err)
		}
	}
	if got, want := f.String(), "seed 1, power cut before operation 2, sync /d/x"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := holds(f.Crash(), "/d/x", before); err != nil {
		t.Error(err)
	}
}

// TestSameSeedSameDisk: a case that went wrong can be run again.
func TestSameSeedSameDisk(t *testing.T) {
	left := func(seed uint64) string {
		f := New(seed)
		stored(f)
		err := errors.Join(put(f, "/d/y", after), f.SyncDir("/d"))
		text, e := read(f.Crash(), "/d/y")
		if err = errors.Join(err, e); err != nil {
			t.Fatal(err)
		}
		return text
	}
	texts := make(map[string]bool)
	for seed := range uint64(20) {
		want := left(seed)
		texts[want] = true
		for range 3 {
			if left(seed) != want {
				t.Fatalf("seed %d gives two disks", seed)
			}
		}
	}
	if len(texts) < 5 {
		t.Errorf("%d disks of 20 seeds", len(texts))
	}
}
