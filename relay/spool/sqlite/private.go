package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The modes of what is in a spool, whatever the umask and the mode of its directory: mail is for nobody else
// to read.
const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// createPrivate makes the file of a database, if it is not there, before SQLite does, which would make it
// under the umask. The log and its index get the mode of the database from SQLite.
func createPrivate(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// keyName is the relay's secret, which it keeps beside its mail.
const keyName = "key"

// ours reports whether a file of this name in the spool's directory is of the spool.
func ours(name string) bool {
	name, _, _ = strings.Cut(name, ".tmp-") // while durable.WriteFile writes it
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		name = strings.TrimSuffix(name, suffix)
	}
	switch name {
	case databaseName, rebuildName, journalName, journalName1, marksName, marksName1, reserveName, lockName,
		keyName:
		return true
	}
	return false
}

// narrowing takes from others what they may do to files of ours: those of an older release, or such as a copy
// was restored with.
type narrowing struct {
	dir    string
	done   []string // names with their former modes
	more   int      // that were narrowed and are not among done
	failed []error
}

// narrowMost is how many files the log names.
const narrowMost = 20

// narrow makes all files of the spool the owner's alone, tells of those that were not, and warns of a
// directory that others may enter.
func (s *Spool) narrow() error {
	if err := s.warnOpenDir(); err != nil {
		return err
	}
	n := &narrowing{dir: s.o.Dir}
	n.entry(s.path(contentDir))
	n.entry(s.path(damagedDir))
	n.entries("", ours)
	n.entries(contentDir, isContent)
	n.entries(damagedDir, func(string) bool { return true })
	if len(n.done) > 0 {
		s.o.Log.Warn("files of the spool could be read or changed by others; they are the owner's alone now",
			"dir", s.o.Dir, "files", strings.Join(n.done, ", "), "more", n.more)
	}
	if err := errors.Join(n.failed...); err != nil {
		s.o.Log.Warn("files of the spool may be readable by others: their modes cannot be looked at or changed",
			"dir", s.o.Dir, "err", err)
	}
	return nil
}

// warnOpenDir warns of a directory that others may enter or change.
func (s *Spool) warnOpenDir() error {
	var st unix.Stat_t
	if err := unix.Stat(s.o.Dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: s.o.Dir, Err: err}
	}
	if st.Mode&0o077 != 0 {
		s.o.Log.Warn("the spool's directory can be entered by others on this machine; it is for the relay alone",
			"dir", s.o.Dir, "mode", fmt.Sprintf("%04o", st.Mode&0o7777), "fix", "chmod 0700 "+s.o.Dir)
	}
	return nil
}

// entries narrows the files in a directory of the spool that is selects by name. One that is missing has
// none.
func (n *narrowing) entries(dir string, is func(name string) bool) {
	d, err := os.Open(filepath.Join(n.dir, dir))
	if err != nil {
		n.note(err)
		return
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			if is(name) {
				n.entry(filepath.Join(n.dir, dir, name))
			}
		}
		if err != nil {
			if err != io.EOF {
				n.note(err)
			}
			return
		}
	}
}

// note keeps an error. That a file has gone is none.
func (n *narrowing) note(err error) {
	if ignoreMissing(err) != nil {
		n.failed = append(n.failed, err)
	}
}

// entry narrows a file or a directory, if it is too wide. A link and what is neither are left alone.
func (n *narrowing) entry(path string) {
	info, err := os.Lstat(path)
	if err != nil {
		n.note(err)
		return
	}
	perm := fs.FileMode(filePerm)
	if info.IsDir() {
		perm = dirPerm
	} else if !info.Mode().IsRegular() {
		return
	}
	if info.Mode().Perm()&0o077 == 0 {
		return
	}
	if err := chmod(path, perm); err != nil {
		n.note(err)
		return
	}
	if len(n.done) >= narrowMost {
		n.more++
		return
	}
	n.done = append(n.done, fmt.Sprintf("%s (%04o)", strings.TrimPrefix(path, n.dir+"/"), info.Mode().Perm()))
}

// chmod changes the mode of path itself, never of what a link leads to.
func chmod(path string, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(perm), f.Close())
}
