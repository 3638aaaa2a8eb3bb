package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"mailwhy/relay/internal/durable"
)

// WriteMaildir writes a report into a maildir, which it makes if need be. After nil it is there, whole,
// through a power cut too; a reader never sees a part of it in new. The same id is written once only, even
// if a mail reader has already moved the first one from new to cur. After an error the same call may be made
// again.
func WriteMaildir(dir, id string, content []byte) error {
	return writeMaildir(durable.OS{}, dir, id, content)
}

// writeMaildir is WriteMaildir on a given file system.
func writeMaildir(fsys durable.FS, dir, id string, content []byte) error {
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		if err := durable.MkdirAll(fsys, filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	name := id + ".mailwhy"
	if sub, ok := delivered(fsys, dir, name); ok {
		// Whoever wrote or moved it may have been stopped before that was durable.
		return fsys.SyncDir(filepath.Join(dir, sub))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <>\r\n") // RFC 5321, 4.4
	b.Write(content)
	tmp := filepath.Join(dir, "tmp", name)
	if err := writeNew(fsys, tmp, b.Bytes()); err != nil {
		return err
	}
	return deliver(fsys, tmp, filepath.Join(dir, "new", name))
}

// writeNew writes a file, durably, in place of what a crash may have left of it.
func writeNew(fsys durable.FS, name string, data []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := durable.CreateIn(fsys, name, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Abort()
		return err
	}
	return f.Commit()
}

// deliver moves a file, durably. After an error it is gone.
func deliver(fsys durable.FS, from, to string) error {
	if err := fsys.Rename(from, to); err != nil {
		fsys.Remove(from)
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(to)); err != nil {
		fsys.Remove(to) // the name may never get to the disk, unless it is made anew
		return err
	}
	return nil
}

// delivered finds a file in the maildir, in new under its name or in cur under the one that a mail reader
// made of it. What cannot be looked at says nothing.
func delivered(fsys durable.FS, dir, name string) (sub string, ok bool) {
	if _, err := fsys.Stat(filepath.Join(dir, "new", name)); err == nil {
		return "new", true
	}
	seen, _ := fsys.ReadDir(filepath.Join(dir, "cur"))
	for _, e := range seen {
		if strings.HasPrefix(e.Name(), name) {
			return "cur", true
		}
	}
	return "", false
}
