package durable

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Reserve makes sure that the file name exists and holds at least size bytes of disk space of its own, so
// that removing it gives that space back. The bytes have no meaning. On a file system that cannot reserve,
// zeros are written. After an error there is no file. It is not made durable: a start makes it again.
func Reserve(name string, size int64) error { return ReserveIn(OS{}, name, size) }

// ReserveIn is Reserve on a given file system.
func ReserveIn(fsys FS, name string, size int64) error {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = f.Allocate(size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = fill(f, size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		fsys.Remove(name)
		return fmt.Errorf("reserving %d bytes: %w", size, err)
	}
	return nil
}

// fill writes size zeros.
func fill(f Handle, size int64) error {
	zeros := make([]byte, 64<<10)
	for size > 0 {
		n, err := f.Write(zeros[:min(size, int64(len(zeros)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
