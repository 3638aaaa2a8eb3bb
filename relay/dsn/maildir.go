package dsn

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailwhy/relay/internal/durable"
)

// WriteMaildir writes a report into a maildir, which it makes if need be, so that it outlives a power cut.
// The same id is written once only, even if a mail reader has already moved the first one from new to cur.
func WriteMaildir(dir, id string, content []byte) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	name := id + ".mailwhy"
	if delivered(dir, name) {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <>\r\n") // RFC 5321, 4.4
	b.Write(content)
	tmp := filepath.Join(dir, "tmp", name)
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) { // of a crash
		return err
	}
	f, err := durable.Create(tmp, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		f.Abort()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Join(dir, "new"))
}

// delivered reports whether a file is in the maildir, under its name or the one that a mail reader made of
// it.
func delivered(dir, name string) bool {
	if _, err := os.Stat(filepath.Join(dir, "new", name)); err == nil {
		return true
	}
	seen, _ := os.ReadDir(filepath.Join(dir, "cur")) // one that cannot be read says nothing
	return slices.ContainsFunc(seen, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), name) })
}
