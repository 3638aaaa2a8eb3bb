package files

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

	"mailwhy/relay"
)

// ContentSuffix ends the names of content files: id-random.eml.
const ContentSuffix = ".eml"

// IsContent reports whether a file in the directory of contents has a name that we gave it.
func IsContent(name string) bool {
	id, rest, ok := strings.Cut(name, "-")
	return ok && relay.ValidID(id) && strings.HasSuffix(rest, ContentSuffix)
}

// ours reports whether a file of this name in the spool's directory is of the spool.
func ours(name string) bool {
	name, _, _ = strings.Cut(name, ".tmp-") // while durable.WriteFile writes it
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		name = strings.TrimSuffix(name, suffix)
	}
	switch name {
	case Database, Rebuild, Journal, Journal1, RunState, RunState1, Reserve, Lock, Key:
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

// Narrow makes all files of the spool the owner's alone, tells of those that were not, and warns of a
// directory that others may enter.
func (d Dir) Narrow() error {
	if err := d.warnOpenDir(); err != nil {
		return err
	}
	n := &narrowing{dir: d.Path}
	n.entry(d.File(Contents))
	n.entry(d.File(Damaged))
	n.entries("", ours)
	n.entries(Contents, IsContent)
	n.entries(Damaged, func(string) bool { return true })
	if len(n.done) > 0 {
		d.Log.Warn("files of the spool could be read or changed by others; they are the owner's alone now",
			"dir", d.Path, "files", strings.Join(n.done, ", "), "more", n.more)
	}
	if err := errors.Join(n.failed...); err != nil {
		d.Log.Warn("files of the spool may be readable by others: their modes cannot be looked at or changed",
			"dir", d.Path, "err", err)
	}
	return nil
}

// warnOpenDir warns of a directory that others may enter or change.
func (d Dir) warnOpenDir() error {
	var st unix.Stat_t
	if err := unix.Stat(d.Path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: d.Path, Err: err}
	}
	if st.Mode&0o077 != 0 {
		d.Log.Warn("the spool's directory can be entered by others on this machine; "+
			"it is for the relay alone",
			"dir", d.Path, "mode", fmt.Sprintf("%04o", st.Mode&0o7777), "fix", "chmod 0700 "+d.Path)
	}
	return nil
}

// entries narrows the files in a directory of the spool that is selects by name. One that is missing has
// none.
func (n *narrowing) entries(dir string, is func(name string) bool) {
	in, err := os.Open(filepath.Join(n.dir, dir))
	if err != nil {
		n.note(err)
		return
	}
	defer in.Close()
	for {
		names, err := in.Readdirnames(256)
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
	if IgnoreMissing(err) != nil {
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
	perm := fs.FileMode(Perm)
	if info.IsDir() {
		perm = DirPerm
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
