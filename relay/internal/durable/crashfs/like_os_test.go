package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mailwhy/relay/internal/durable"
)

// TestLikeOS holds both file systems to the same answers: what a writer is tested on is what it meets.
func TestLikeOS(t *testing.T) {
	for name, f := range map[string]durable.FS{"OS": durable.OS{}, "crashfs": New(1)} {
		t.Run(name, func(t *testing.T) {
			dir := "/d"
			if name == "OS" {
				dir = t.TempDir()
			} else if err := f.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, c := range osCases {
				sub := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
				if err := f.Mkdir(sub, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := c.run(f, sub+"/"); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
		})
	}
}

// osCases are operations in an empty directory and the error that they end with.
var osCases = []struct {
	name string
	run  func(f durable.FS, dir string) error
	want error
}{
	{"open missing", func(f durable.FS, dir string) error { return touch(f, dir+"x", os.O_RDWR) },
		fs.ErrNotExist},
	{"open below missing", func(f durable.FS, dir string) error {
		return touch(f, dir+"x/y", os.O_RDWR|os.O_CREATE)
	}, fs.ErrNotExist},
	{"open below file", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "1"), touch(f, dir+"x/y", os.O_RDWR|os.O_CREATE))
	}, syscall.ENOTDIR},
	{"open twice anew", func(f durable.FS, dir string) error {
		flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
		return errors.Join(touch(f, dir+"x", flags), touch(f, dir+"x", flags))
	}, fs.ErrExist},
	{"open directory to write", func(f durable.FS, dir string) error {
		return touch(f, strings.TrimSuffix(dir, "/"), os.O_WRONLY)
	}, syscall.EISDIR},
	{"write without leave", func(f durable.FS, dir string) error {
		h, err := f.OpenFile(dir+"x", os.O_RDONLY|os.O_CREATE, 0o600)
		if err == nil {
			defer h.Close()
			_, err = h.WriteAt([]byte("x"), 0)
		}
		return err
	}, syscall.EBADF},
	{"read without leave", func(f durable.FS, dir string) error {
		h, err := f.OpenFile(dir+"x", os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			defer h.Close()
			_, err = h.ReadAt(make([]byte, 1), 0)
		}
		return err
	}, syscall.EBADF},
	{"use after close", func(f durable.FS, dir string) error {
		h, err := f.OpenFile(dir+"x", os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = errors.Join(h.Close(), h.Truncate(1))
		}
		return err
	}, fs.ErrClosed},
	{"write and read", writeAndRead, nil},
	{"read at the end", func(f durable.FS, dir string) error {
		return with(f, dir+"x", func(h durable.Handle) error {
			_, err := h.ReadAt(make([]byte, 4), 0)
			return err
		})
	}, io.EOF},
	{"allocate", func(f durable.FS, dir string) error {
		return with(f, dir+"x", func(h durable.Handle) error {
			h.WriteAt([]byte("ab"), 0)
			err := errors.Join(h.Allocate(5000), h.Allocate(10))
			if i, e := h.Stat(); e != nil || i.Size() != 5000 || i.Mode() != 0o600 || i.Name() != "x" {
				return fmt.Errorf("%v, %v", i, e)
			}
			return errors.Join(err, holds(f, dir+"x", "ab"+strings.Repeat("\x00", 4998)))
		})
	}, nil},
	{"truncate on open", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "long"), touch(f, dir+"x", os.O_WRONLY|os.O_TRUNC),
			holds(f, dir+"x", ""))
	}, nil},
	{"rename missing", func(f durable.FS, dir string) error { return f.Rename(dir+"x", dir+"y") },
		fs.ErrNotExist},
	{"rename into missing", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "1"), f.Rename(dir+"x", dir+"y/x"))
	}, fs.ErrNotExist},
	{"rename over directory", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "1"), f.Mkdir(dir+"y", 0o700), f.Rename(dir+"x", dir+"y"))
	}, fs.ErrExist},
	{"rename over file", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "1"), put(f, dir+"y", "2"), f.Rename(dir+"x", dir+"y"),
			holds(f, dir+"y", "1"), lists(f, dir, "y"))
	}, nil},
	{"rename to itself", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", "1"), f.Rename(dir+"x", dir+"x"), holds(f, dir+"x", "1"))
	}, nil},
	{"remove missing", func(f durable.FS, dir string) error { return f.Remove(dir + "x") }, fs.ErrNotExist},
	{"remove full directory", func(f durable.FS, dir string) error {
		return errors.Join(f.Mkdir(dir+"x", 0o700), put(f, dir+"x/y", ""), f.Remove(dir+"x"))
	}, syscall.ENOTEMPTY},
	{"remove", func(f durable.FS, dir string) error {
		return errors.Join(f.Mkdir(dir+"x", 0o700), put(f, dir+"y", ""), f.Remove(dir+"x"),
			f.Remove(dir+"y"), lists(f, dir))
	}, nil},
	{"mkdir twice", func(f durable.FS, dir string) error {
		return errors.Join(f.Mkdir(dir+"x", 0o700), f.Mkdir(dir+"x", 0o700))
	}, fs.ErrExist},
	{"mkdir below missing", func(f durable.FS, dir string) error { return f.Mkdir(dir+"x/y", 0o700) },
		fs.ErrNotExist},
	{"list", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"b", ""), put(f, dir+"a", ""), f.Mkdir(dir+"c", 0o700),
			f.SyncDir(dir), lists(f, dir, "a", "b", "c"))
	}, nil},
	{"list missing", func(f durable.FS, dir string) error { return lists(f, dir+"x") }, fs.ErrNotExist},
	{"list file", func(f durable.FS, dir string) error {
		return errors.Join(put(f, dir+"x", ""), lists(f, dir+"x"))
	}, syscall.ENOTDIR},
	{"stat missing", func(f durable.FS, dir string) error { _, err := f.Stat(dir + "x"); return err },
		fs.ErrNotExist},
	{"stat directory", func(f durable.FS, dir string) error {
		i, err := f.Stat(dir)
		if err == nil && (!i.IsDir() || i.Mode().Perm() != 0o700) {
			err = fmt.Errorf("mode %v", i.Mode())
		}
		return err
	}, nil},
	{"sync missing directory", func(f durable.FS, dir string) error { return f.SyncDir(dir + "x") },
		fs.ErrNotExist},
}

// writeAndRead writes, in order and at places, and reads both ways.
func writeAndRead(f durable.FS, dir string) error {
	return with(f, dir+"x", func(h durable.Handle) error {
		for _, s := range []string{"one ", "two"} {
			if n, err := h.Write([]byte(s)); n != len(s) || err != nil {
				return fmt.Errorf("%d, %v", n, err)
			}
		}
		h.WriteAt([]byte("T"), 4)
		h.WriteAt([]byte("end"), 5000)
		h.Truncate(5002)
		h.Truncate(5004)
		if err := errors.Join(h.Sync(), h.SyncData()); err != nil {
			return err
		}
		b := make([]byte, 3)
		if n, err := h.ReadAt(b, 4); n != 3 || err != nil || string(b) != "Two" {
			return fmt.Errorf("%q, %v", b[:n], err)
		}
		if n, err := h.Read(b); n != 3 || err != nil { // after what was written
			return fmt.Errorf("%d, %v", n, err)
		}
		return holds(f, dir+"x", "one Two"+strings.Repeat("\x00", 4993)+"en\x00\x00")
	})
}

// with runs an operation on a new file.
func with(f durable.FS, name string, run func(durable.Handle) error) error {
	h, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = run(h)
	if e := h.Close(); err == nil {
		err = e
	}
	return err
}

// touch opens and closes a file.
func touch(f durable.FS, name string, flag int) error {
	h, err := f.OpenFile(name, flag, 0o600)
	if err != nil {
		return err
	}
	return h.Close()
}

// put writes a new file, and does not make it durable.
func put(f durable.FS, name, text string) error {
	return with(f, name, func(h durable.Handle) error {
		_, err := h.Write([]byte(text))
		return err
	})
}

// read reads a file.
func read(f durable.FS, name string) (string, error) {
	h, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer h.Close()
	b, err := io.ReadAll(h)
	return string(b), err
}

// holds fails unless a file has the text.
func holds(f durable.FS, name, text string) error {
	got, err := read(f, name)
	if err == nil && got != text {
		err = fmt.Errorf("%s holds %q, want %q", name, got, text)
	}
	return err
}

// lists fails unless a directory has the names.
func lists(f durable.FS, dir string, want ...string) error {
	entries, err := f.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		return fmt.Errorf("%s has %q, want %q", dir, names, want)
	}
	return nil
}
