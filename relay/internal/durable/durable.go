// Package durable writes files that outlive a power cut.
//
// A file is on disk only once its bytes are (fsync of the file) and its name is (fsync of the directory
// that holds it). This package does both, in that order, and reports every error. It is called by every room
// that keeps something: the spool for large contents and for what it sets aside, the delivery of bounces to
// a file, the configuration.
//
// # What survives a power cut
//
//   - Bytes that were written before a Sync of their file that returned nil. Others may be lost, or be there
//     in part: blocks reach the disk in any order, and the length apart from them, so that a file may end in
//     zeros or in what the disk held before.
//   - A name that was made, renamed or removed before a SyncDir of its directory that returned nil. Other
//     changes of names may be there or not, each for itself. The name of a new directory is one of its
//     parent's.
//   - Rename is atomic: its new name leads to the old file or to the new one, whole, and a file that was
//     durable is there under one of its two names at least. Whether that file's bytes are there is a matter
//     of its Sync.
//
// An error of Sync or SyncDir is final for what it concerns: the kernel may have dropped the pages, so asking
// again would say yes without having written anything. The caller has to write the whole file anew.
//
// # File systems
//
// FS is what the writers of this package and of the rooms ask of a file system. OS is that of the machine;
// package crashfs has one in memory that models the list above and fails when told to, for tests.
package durable

import (
	"io"
	"io/fs"
)

// FS is a file system. Names are paths as package os takes them; errors are those of package os: they name
// the path and wrap a syscall.Errno. It is safe for concurrent use.
type FS interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (Handle, error)
	// Rename is os.Rename: it replaces a file of the new name.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Mkdir makes one directory.
	Mkdir(name string, perm fs.FileMode) error
	// Stat follows links.
	Stat(name string) (fs.FileInfo, error)
	// ReadDir lists a directory, ordered by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the names in a directory durable: those that were added and those that were removed.
	SyncDir(dir string) error
}

// Handle is an open file, as *os.File is.
type Handle interface {
	io.ReadWriteCloser
	io.ReaderAt
	io.WriterAt
	// Name is the path that it was opened with.
	Name() string
	Stat() (fs.FileInfo, error)
	// Truncate changes the length of the file; what it grows by reads as zeros.
	Truncate(size int64) error
	// Allocate makes sure that the file has at least size bytes, with disk space of their own. It changes no
	// byte that is there. A file system that cannot do that says syscall.EOPNOTSUPP or ENOSYS.
	Allocate(size int64) error
	// Sync makes the bytes and the length of the file durable, and its times and its mode.
	Sync() error
	// SyncData is Sync without times and mode (fdatasync).
	SyncData() error
}
