package files

import (
	"errors"
	"os"
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

// IsFull reports whether err says that no room is left on the disk, in its quota or among its inodes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
