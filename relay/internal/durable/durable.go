// Package durable writes files that outlive a power cut.
//
// A file is on disk only once its bytes are (fsync of the file) and its name is (fsync of the directory
// that holds it). This package does both, in that order, and reports every error: after nil the file is
// there whatever happens next, and after an error no file of that name was left behind that was not there
// before. It is called by every room that keeps something: the spool for large contents, the delivery of
// bounces to a file, the configuration.
//
// An error of fsync is final for the file it concerns: the kernel may have dropped the pages, so asking
// again would say yes without having written anything. The caller has to write the whole file anew.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is a new file that is not durable until Commit. It is for one goroutine.
type File struct {
	f    *os.File
	name string
}

// Create makes a new file, readable and writable by perm. It fails if the name exists.
func Create(name string, perm fs.FileMode) (*File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return nil, err
	}
	return &File{f, name}, nil
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) { return f.f.Write(b) }

// Commit makes the file and its name durable and closes it. After an error the file is gone.
func (f *File) Commit() error {
	err := errors.Join(f.f.Sync(), f.f.Close())
	if err == nil {
		err = SyncDir(filepath.Dir(f.name))
	}
	if err != nil {
		os.Remove(f.name)
	}
	return err
}

// Abort closes and removes the file.
func (f *File) Abort() {
	f.f.Close()
	os.Remove(f.name)
}

// WriteFile replaces the file name, or makes it. A reader sees the old bytes or the new ones, never a part
// of them, and so does a machine that lost its power.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	// The order of system calls: open(O_EXCL) of a name beside, write, fsync, close, fsync of the
	// directory, rename over, fsync of the directory. The first fsync of the directory costs little and
	// comes with Commit.
	f, err := Create(name+".tmp-"+rand.Text(), perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Abort()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if err := os.Rename(f.name, name); err != nil {
		os.Remove(f.name)
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir makes the names in a directory durable: those that were added and those that were removed.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Reserve makes sure that the file name exists and holds at least size bytes of disk space of its own, so
// that removing it gives that space back. The bytes have no meaning. On a file system that cannot reserve,
// zeros are written.
func Reserve(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = fill(f, size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return fmt.Errorf("reserving %d bytes: %w", size, err)
	}
	return nil
}

// fill writes size zeros.
func fill(f *os.File, size int64) error {
	zeros := make([]byte, 64<<10)
	for size > 0 {
		n, err := f.Write(zeros[:min(size, int64(len(zeros)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
