package smtptest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Dump keeps contents as files. It is safe for concurrent use.
type Dump struct {
	dir string
	n   atomic.Int64
}

// NewDump makes the directory if need be.
func NewDump(dir string) (*Dump, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Dump{dir: dir}, nil
}

// Write keeps one content, byte for byte, as an .eml file whose name begins with the time of arrival, and
// returns its path. The file appears whole or not at all.
func (d *Dump) Write(m *Message) (path string, err error) {
	f, err := os.CreateTemp(d.dir, ".arriving-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // fails after the renaming, as it should
	_, err = f.Write(m.Content)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%06d.eml", m.Arrived.UTC().Format("20060102T150405.000Z"), d.n.Add(1))
	path = filepath.Join(d.dir, name)
	return path, os.Rename(f.Name(), path)
}
