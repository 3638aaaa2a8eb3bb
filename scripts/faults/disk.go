package main

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
)

// disk is an ext4 file system in a file.
type disk struct {
	image   string
	dir     string // where it is mounted
	options string // of mount
	mounted bool
}

// shutdownRequest is the ioctl FS_IOC_SHUTDOWN, _IOR('X', 125, __u32), and withoutFlush its flag that leaves behind what
// is in memory, the journal too.
const (
	shutdownRequest = 0x8004587d
	withoutFlush    = 2
)

// newDisk makes the file system. Extra arguments are mkfs's.
func newDisk(ctx context.Context, dir string, size int64, extra ...string) (*disk, error) {
	d := &disk{image: filepath.Join(dir, "disk.img"), dir: filepath.Join(dir, "mnt"), options: "loop,commit=1000"}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(size), f.Close())
	if err == nil {
		err = command(ctx, "", "mkfs.ext4", append(append([]string{"-q", "-F"}, extra...), d.image)...)
	}
	return d, err
}

// mount mounts the disk. A journal that was left behind is replayed.
func (d *disk) mount(ctx context.Context) error {
	err := command(ctx, "", "mount", "-o", d.options, d.image, d.dir)
	d.mounted = err == nil
	return err
}

// unmount unmounts the disk, waiting a while for those who still use it. It works after the test's context has ended.
func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	var err error
	for range 100 {
		if err = syscall.Unmount(d.dir, 0); err == nil {
			d.mounted = false
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	syscall.Unmount(d.dir, syscall.MNT_DETACH)
	d.mounted = false
	return fmt.Errorf("unmounting %s: %w", d.dir, err)
}

// shutdown cuts the power of the disk: what is not on it by now never will be, and every access from now on fails with EIO.
func (d *disk) shutdown() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlSetPointerInt(int(f.Fd()), shutdownRequest, withoutFlush)
	runtime.KeepAlive(f)
	return err
}

// copyImage copies the disk as it is at this moment, holes left out.
func (d *disk) copyImage(ctx context.Context, to string) error {
	return command(ctx, "", "cp", "--sparse=always", d.image, to)
}

// fill writes a file of as many bytes as the disk takes, up to n; 0 is all.
func (d *disk) fill(name string, n int64) error {
	f, err := os.Create(filepath.Join(d.dir, name))
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

// free is the space for us, in bytes.
func (d *disk) free() int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(d.dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}
