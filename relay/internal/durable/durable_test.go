package durable

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteFileReplacesWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	for _, want := range []string{"one", "", "a longer second state"} {
		if err := WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	names, _ := os.ReadDir(filepath.Dir(name))
	if len(names) != 1 {
		t.Errorf("%d names in the directory, want the file alone: %v", len(names), names)
	}
	if fi, _ := os.Stat(name); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", fi.Mode())
	}
}

func TestCreateRefusesExisting(t *testing.T) {
	name := filepath.Join(t.TempDir(), "content")
	f, err := Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(name, 0o600); !os.IsExist(err) {
		t.Errorf("second Create: %v, want that it exists", err)
	}
	f.Abort()
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("after Abort: %v, want no file", err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "missing", "f"), nil, 0o600); err == nil {
		t.Error("writing into a missing directory succeeded")
	}
	target := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(target, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(target, []byte("x"), 0o600); err == nil {
		t.Error("replacing a directory succeeded")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestReserveTakesBlocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "reserve")
	for range 2 { // the second call finds it there
		if err := Reserve(name, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 < 1<<20 {
		t.Errorf("%d bytes of disk are taken, want at least %d", st.Blocks*512, 1<<20)
	}
}
