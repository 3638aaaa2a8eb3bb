package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
)

// freeBytes is what an ordinary process may still write on the file system of dir.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// freeFor is how long a look at the free space is good for: with thousands of messages a second one each is a
// hundredth of all work, and what the disk lacks in the end a commit says.
const freeFor = 20 * time.Millisecond

// freeSpace remembers the free space of the file system for a moment.
type freeSpace struct {
	mu sync.Mutex
	at time.Time
	n  int64
}

// bytes is freeBytes, as of freeFor ago at most.
func (f *freeSpace) bytes(dir string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < freeFor {
		return f.n, nil
	}
	n, err := freeBytes(dir)
	if err == nil {
		f.n, f.at = n, time.Now()
	}
	return n, err
}

// Ephemeral tells on what kind of file system dir is, and whether that loses its files with the machine or the container:
// tmpfs, ramfs and overlay do. A directory that is not there yet is judged by the nearest one above it that is.
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

// lockDir takes the lock of a spool's directory: for writing it alone, or for reading with others. The kernel lets it go with
// the process, however that ends.
func lockDir(dir string, alone bool) (*os.File, error) {
	how, flags := unix.LOCK_EX, os.O_RDWR|os.O_CREATE
	if !alone {
		how, flags = unix.LOCK_SH, os.O_RDONLY
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), flags, filePerm)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process has the directory %s open", ErrInUse, dir)
		}
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// ErrInUse is returned by Open and OpenReadOnly when another process has the spool open.
var ErrInUse = errors.New("spool in use")

// makeDirs makes the directories, for the owner alone, and makes their names durable.
func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, dirPerm); err != nil {
			return err
		}
		if err := durable.SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

// admit says whether a content of which size bytes have come may go on coming.
func (s *Spool) admit(size int64) error {
	if err := s.w.refused(); err != nil {
		return err
	}
	n := counts{messages: s.stat.messages.Load(), bytes: s.stat.bytes.Load()}
	if err := s.room(n, size); err != nil {
		return err
	}
	if s.o.Limits.FreeFloor == 0 {
		return nil
	}
	free, err := s.free.bytes(s.o.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
	}
	if free-size < s.o.Limits.FreeFloor {
		return fmt.Errorf("%w: %d bytes are free on its disk, and %d are to be left", relay.ErrFull, free, s.o.Limits.FreeFloor)
	}
	return nil
}

// room says whether one more message of size bytes is within the limits of the spool that holds n.
func (s *Spool) room(n counts, size int64) error {
	lim := &s.o.Limits
	switch {
	case lim.MaxMessages > 0 && n.messages >= lim.MaxMessages:
		return fmt.Errorf("%w: it holds %d messages, its limit", relay.ErrFull, n.messages)
	case lim.MaxBytes > 0 && n.bytes+size > lim.MaxBytes:
		return fmt.Errorf("%w: it holds %d bytes of %d", relay.ErrFull, n.bytes, lim.MaxBytes)
	}
	return nil
}

// diskError gives an error of the file system its name in the port.
func (s *Spool) diskError(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", relay.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", relay.ErrUnavailable, err)
}

// isFull reports whether err says that no room is left on the disk, in its quota or among its inodes.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || code(err) == codeFull
}
