// Package disk is an ext4 file system in a file, which can be filled, copied and have its power cut. It needs
// root, and a mount namespace of its own so that nothing stays mounted.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay/smtptest/process"
)

// Disk is one file system.
type Disk struct {
	Image   string
	Dir     string // where it is mounted
	Options string // of mount
	mounted bool
}

// shutdownRequest is the ioctl FS_IOC_SHUTDOWN, _IOR('X', 125, __u32), and withoutFlush its flag that leaves
// behind what is in memory, the journal too.
const (
	shutdownRequest = 0x8004587d
	withoutFlush    = 2
)

// New makes the file system. Extra arguments are mkfs's.
func New(ctx context.Context, dir string, size int64, extra ...string) (*Disk, error) {
	d := &Disk{
		Image: filepath.Join(dir, "disk.img"), Dir: filepath.Join(dir, "mnt"), Options: "loop,commit=1000",
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.Image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(size), f.Close())
	if err == nil {
		err = process.Run(ctx, "", "mkfs.ext4", append(append([]string{"-q", "-F"}, extra...), d.Image)...)
	}
	return d, err
}

// Mount mounts the disk. A journal that was left behind is replayed.
func (d *Disk) Mount(ctx context.Context) error {
	err := process.Run(ctx, "", "mount", "-o", d.Options, d.Image, d.Dir)
	d.mounted = err == nil
	return err
}

// Unmount unmounts the disk, waiting a while for those who still use it. It works after the test's context
// has ended.
func (d *Disk) Unmount() error {
	if !d.mounted {
		return nil
	}
	var err error
	for range 100 {
		if err = syscall.Unmount(d.Dir, 0); err == nil {
			d.mounted = false
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	syscall.Unmount(d.Dir, syscall.MNT_DETACH)
	d.mounted = false
	return fmt.Errorf("unmounting %s: %w", d.Dir, err)
}

// Shutdown cuts the power of the disk: what is not on it by now never will be, and every access from now on
// fails with EIO.
func (d *Disk) Shutdown() error {
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlSetPointerInt(int(f.Fd()), shutdownRequest, withoutFlush)
	runtime.KeepAlive(f)
	return err
}

// CopyImage copies the disk as it is at this moment, holes left out.
func (d *Disk) CopyImage(ctx context.Context, to string) error {
	return process.Run(ctx, "", "cp", "--sparse=always", d.Image, to)
}

// Fill writes a file of as many bytes as the disk takes, up to n; 0 is all.
func (d *Disk) Fill(name string, n int64) error {
	f, err := os.Create(filepath.Join(d.Dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		b := make([]byte, size)
		for err == nil && (n == 0 || n >= int64(size)) {
			_, err = f.Write(b)
			if err == nil && n > 0 {
				n -= int64(size)
			}
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	f.Sync()
	return nil
}

// Free is the space for us, in bytes.
func (d *Disk) Free() int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(d.Dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}
