package durable

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Allocate implements Handle.
func (f osHandle) Allocate(size int64) error {
	return f.retry("fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
}

// SyncData implements Handle.
func (f osHandle) SyncData() error { return f.retry("fdatasync", unix.Fdatasync) }

// retry makes a system call, again while a signal interrupts it.
func (f osHandle) retry(op string, call func(fd int) error) error {
	for {
		err := call(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &fs.PathError{Op: op, Path: f.Name(), Err: err}
		}
	}
}
