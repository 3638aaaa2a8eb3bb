// Package files is the directory of a spool on this machine: the names of its files and their modes, the
// lock, the room on its disk, and where damaged originals are set aside. The embedded engine and the repair
// of its files use it.
//
// # What always holds
//
//   - All files of a spool are its owner's alone, whatever the umask and the mode of the directory: mail is
//     for nobody else to read. Files of ours that are found wider are narrowed and named in the log; files
//     that are not ours are left alone.
//   - One process has the directory open for writing, or several have it open for reading. The kernel lets
//     the lock go with the process, however that ends.
//   - Nothing is deleted because it is damaged or not understood: SetAside copies it into the directory
//     damaged, and MoveAside moves it there. Until they return nil the original is in its place, or after a
//     power cut during MoveAside whole in one of the two.
package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay/internal/durable"
)

// The files of a spool's directory, and those that it had in format 1.
const (
	Database = "spool.db"
	// into which a damaged database is salvaged; it takes its place when it is complete
	Rebuild   = "rebuild.db"
	Lock      = "lock"
	RunState  = "marks-2"
	RunState1 = "marks"
	Reserve   = "reserve"
	Journal   = "journal-2"
	Journal1  = "journal"
	Contents  = "content"
	Damaged   = "damaged"
	Key       = "key" // the relay's secret, which it keeps beside its mail
)

// The modes of what is in a spool.
const (
	Perm    = 0o600
	DirPerm = 0o700
)

// ErrInUse is returned when another process has the spool open.
var ErrInUse = errors.New("spool in use")

// Dir is the directory of a spool.
type Dir struct {
	Path string
	Now  func() time.Time // wall clock, for the names of what is set aside
	Log  *slog.Logger
	FS   durable.FS // of the machine if nil. The lock and the modes of files are always that one's.
}

// Disk is the file system that the directory is on.
func (d Dir) Disk() durable.FS {
	if d.FS == nil {
		return durable.OS{}
	}
	return d.FS
}

// File is the path of a file of the spool.
func (d Dir) File(elem ...string) string {
	return filepath.Join(append([]string{d.Path}, elem...)...)
}

// Make makes the directory, if it is missing, and that of the contents.
func (d Dir) Make() error {
	if err := d.makeDir(d.Path); err != nil {
		return err
	}
	return d.makeDir(d.File(Contents))
}

// makeDir makes a directory for the owner alone.
func (d Dir) makeDir(path string) error { return durable.MkdirAll(d.Disk(), path, DirPerm) }

// Take takes the lock of the directory: for writing it alone, or for reading with others. It fails with
// ErrInUse.
func (d Dir) Take(alone bool) (*os.File, error) {
	how, flags := unix.LOCK_EX, os.O_RDWR|os.O_CREATE
	if !alone {
		how, flags = unix.LOCK_SH, os.O_RDONLY
	}
	f, err := os.OpenFile(filepath.Join(d.Path, Lock), flags, Perm)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process has the directory %s open", ErrInUse, d.Path)
		}
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// Aside makes the directory for damaged files, and returns the beginning of a new name in it.
func (d Dir) Aside() (string, error) {
	if err := d.makeDir(d.File(Damaged)); err != nil {
		return "", err
	}
	return d.File(Damaged, d.Now().UTC().Format("20060102T150405Z")+"-"+rand.Text()[:4]), nil
}

// SetAside copies a file of the spool into the directory for damaged files, and returns the copy's name.
func (d Dir) SetAside(name string) (string, error) {
	aside, err := d.Aside()
	if err != nil {
		return "", err
	}
	from, err := d.Disk().OpenFile(d.File(name), os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := durable.CreateIn(d.Disk(), aside+"-"+name, Perm)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Abort()
		return "", fmt.Errorf("setting a damaged file aside: %w", err)
	}
	if err := to.Commit(); err != nil {
		return "", fmt.Errorf("setting a damaged file aside: %w", err)
	}
	return aside + "-" + name, nil
}

// MoveAside moves a file of the spool into the directory for damaged files, and returns its new name.
func (d Dir) MoveAside(name string) (string, error) {
	aside, err := d.Aside()
	if err != nil {
		return "", err
	}
	aside += "-" + name
	if err := d.Disk().Rename(d.File(name), aside); err != nil {
		return "", fmt.Errorf("setting %s aside: %w", name, err)
	}
	if err := errors.Join(d.Disk().SyncDir(d.File(Damaged)), d.Disk().SyncDir(d.Path)); err != nil {
		d.Disk().Rename(aside, d.File(name)) // the next start shall meet it, and tell of it
		return "", fmt.Errorf("setting %s aside: %w", name, err)
	}
	return aside, nil
}

// IgnoreMissing is err, unless that says that a file is not there.
func IgnoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// CreatePrivate makes an empty file, if it is not there, before somebody else does who would make it under
// the umask.
func CreatePrivate(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, Perm)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
