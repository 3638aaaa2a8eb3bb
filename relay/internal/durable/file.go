package durable

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a new file that is not durable until Commit. It is for one goroutine.
type File struct {
	fs FS
	f  Handle
}

// Create makes a new file, readable and writable by perm. It fails if the name exists.
func Create(name string, perm fs.FileMode) (*File, error) { return CreateIn(OS{}, name, perm) }

// CreateIn is Create on a given file system.
func CreateIn(fsys FS, name string, perm fs.FileMode) (*File, error) {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return nil, err
	}
	return &File{fsys, f}, nil
}

// Write implements io.Writer.
func (f *File) Write(b []byte) (int, error) { return f.f.Write(b) }

// Commit makes the file and its name durable and closes it. After nil it is there whatever happens next;
// after an error it is gone.
func (f *File) Commit() error {
	err := errors.Join(f.f.Sync(), f.f.Close())
	if err == nil {
		err = f.fs.SyncDir(filepath.Dir(f.f.Name()))
	}
	if err != nil {
		f.fs.Remove(f.f.Name())
	}
	return err
}

// Abort closes and removes the file.
func (f *File) Abort() {
	f.f.Close()
	f.fs.Remove(f.f.Name())
}

// WriteFile replaces the file name, or makes it. A reader sees the old bytes or the new ones, never a part
// of them, and so does a machine that lost its power: after nil the new ones, after an error either.
func WriteFile(name string, data []byte, perm fs.FileMode) error {
	return WriteFileIn(OS{}, name, data, perm)
}

// WriteFileIn is WriteFile on a given file system.
func WriteFileIn(fsys FS, name string, data []byte, perm fs.FileMode) error {
	// The order of system calls: open(O_EXCL) of a name beside, write, fsync, close, fsync of the
	// directory, rename over, fsync of the directory. The first fsync of the directory costs little and
	// comes with Commit.
	f, err := CreateIn(fsys, name+".tmp-"+rand.Text(), perm)
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
	if err := fsys.Rename(f.f.Name(), name); err != nil {
		fsys.Remove(f.f.Name())
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// SyncDir makes the names in a directory durable: those that were added and those that were removed.
func SyncDir(dir string) error { return OS{}.SyncDir(dir) }

// MkdirAll makes the directory path, and those above it that are missing, and makes their names durable. One
// that is there is left as it is, but its name is made durable too: it may be of a run that was stopped
// between the two. A parent that we may not read cannot be synced, and is left alone.
func MkdirAll(fsys FS, path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	made, err := mkdirMissing(fsys, path, parent, perm)
	if err != nil {
		return err
	}
	err = fsys.SyncDir(parent)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil && made {
		fsys.Remove(path) // the next call has to make its name anew
	}
	return err
}

// mkdirMissing makes the directory path unless it is there, and its parent if that is missing too.
func mkdirMissing(fsys FS, path, parent string, perm fs.FileMode) (made bool, err error) {
	info, err := fsys.Stat(path)
	if err == nil && !info.IsDir() {
		return false, &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	err = fsys.Mkdir(path, perm)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := MkdirAll(fsys, parent, perm); err != nil {
			return false, err
		}
		err = fsys.Mkdir(path, perm)
	}
	return err == nil, err
}
