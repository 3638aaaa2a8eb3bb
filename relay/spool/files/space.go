package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FreeBytes is what an ordinary process may still write on the file system of dir.
func FreeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// freeFor is how long a look at the free space is good for: with thousands of messages a second one each is a
// hundredth of all work, and what the disk lacks in the end a commit says.
const freeFor = 20 * time.Millisecond

// FreeSpace remembers the free space of a file system for a moment. It is safe for concurrent use.
type FreeSpace struct {
	mu sync.Mutex
	at time.Time
	n  int64
}

// Bytes is FreeBytes, as of a moment ago at most.
func (f *FreeSpace) Bytes(dir string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < freeFor {
		return f.n, nil
	}
	n, err := FreeBytes(dir)
	if err == nil {
		f.n, f.at = n, time.Now()
	}
	return n, err
}

// Ephemeral tells on what kind of file system dir is, and whether that loses its files with the machine or
// the container: tmpfs, ramfs and overlay do. A directory that is not there yet is judged by the nearest
// one above it that is.
func Ephemeral(dir string) (fs string, ephemeral bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) != nil {
		if dir == filepath.Dir(dir) {
			return "", false
		}
		dir = filepath.Dir(dir)
	}
	switch int64(st.Type) & 0xffffffff {
	case unix.TMPFS_MAGIC:
		return "tmpfs", true
	case unix.RAMFS_MAGIC:
		return "ramfs", true
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", true
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", false
	case unix.XFS_SUPER_MAGIC:
		return "xfs", false
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", false
	case unix.NFS_SUPER_MAGIC:
		return "nfs", false
	}
	return fmt.Sprintf("%#x", st.Type), false
}

// IsFull reports whether err says that no room is left on the disk, in its quota or among its inodes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
