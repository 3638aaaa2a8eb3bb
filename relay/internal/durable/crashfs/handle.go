package crashfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// handle implements durable.Handle.
type handle struct {
	fs     *FS
	node   *node
	name   string
	flag   int
	at     int64
	closed bool
}

// Name implements durable.Handle.
func (h *handle) Name() string { return h.name }

// do runs an operation on the file, with the error that it is to fail with. Some of what it wrote may reach
// the disk at once.
func (h *handle) do(op Op, run func(c *content, failed error) error) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return pathError(op, h.name, os.ErrClosed)
	}
	failed := h.fs.begin(op, h.name)
	if h.fs.off {
		return failed
	}
	err := run(h.node.content, failed)
	h.node.content.writeBack(h.fs.rng, h.fs.haste)
	if failed != nil {
		err = failed
	} else if err != nil && err != io.EOF {
		err = pathError(op, h.name, err)
	}
	return err
}

// may fails unless the file was opened for writing, or reading.
func (h *handle) may(write bool) error {
	mode := h.flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	if write && mode == os.O_RDONLY || !write && mode == os.O_WRONLY {
		return syscall.EBADF
	}
	return nil
}

// Read implements io.Reader.
func (h *handle) Read(b []byte) (n int, err error) {
	err = h.do(Read, func(c *content, failed error) error {
		if failed != nil {
			return nil
		}
		n, err = h.read(c, b, h.at)
		h.at += int64(n)
		if n > 0 && err == io.EOF {
			err = nil // the next call says so
		}
		return err
	})
	return n, err
}

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.do(Read, func(c *content, failed error) error {
		if failed != nil {
			return nil
		}
		n, err = h.read(c, b, off)
		return err
	})
	return n, err
}

// read reads into b, and says io.EOF when the file ends before b does.
func (h *handle) read(c *content, b []byte, off int64) (n int, err error) {
	if err := h.may(false); err != nil {
		return 0, err
	}
	if off < int64(len(c.seen)) {
		n = copy(b, c.seen[off:])
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// Write implements io.Writer.
func (h *handle) Write(b []byte) (n int, err error) {
	err = h.do(Write, func(c *content, failed error) error {
		n, err = h.write(c, b, h.at, failed)
		h.at += int64(n)
		return err
	})
	return n, err
}

// WriteAt implements io.WriterAt.
func (h *handle) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.do(Write, func(c *content, failed error) error {
		n, err = h.write(c, b, off, failed)
		return err
	})
	return n, err
}

// write writes b, or a part of it if it is to fail.
func (h *handle) write(c *content, b []byte, off int64, failed error) (n int, err error) {
	if err := h.may(true); err != nil {
		return 0, err
	}
	if failed != nil {
		b = b[:h.fs.rng.IntN(len(b)+1)]
	}
	c.writeAt(b, off)
	return len(b), nil
}

// Truncate implements durable.Handle.
func (h *handle) Truncate(size int64) error {
	return h.resize(Truncate, func(int64) int64 { return size })
}

// Allocate implements durable.Handle.
func (h *handle) Allocate(size int64) error {
	return h.resize(Allocate, func(old int64) int64 { return max(old, size) })
}

// resize changes the length.
func (h *handle) resize(op Op, to func(old int64) int64) error {
	return h.do(op, func(c *content, failed error) error {
		if err := h.may(true); err != nil || failed != nil {
			return err
		}
		c.resize(to(int64(len(c.seen))))
		return nil
	})
}

// Stat implements durable.Handle.
func (h *handle) Stat() (i fs.FileInfo, err error) {
	err = h.do(Stat, func(_ *content, failed error) error {
		if failed == nil {
			i = h.node.info(h.name)
		}
		return nil
	})
	return i, err
}

// Sync implements durable.Handle.
func (h *handle) Sync() error {
	return h.do(Sync, func(c *content, failed error) error {
		if failed != nil {
			c.failSync(h.fs.rng)
		} else {
			c.sync()
		}
		return nil
	})
}

// SyncData implements durable.Handle. A crash does not change times or modes here, so it is Sync.
func (h *handle) SyncData() error { return h.Sync() }

// Close implements io.Closer.
func (h *handle) Close() error {
	return h.do(Close, func(*content, error) error {
		h.closed = true
		return nil
	})
}
