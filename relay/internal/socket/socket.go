// Package socket makes unix sockets that are never open to more than they should be.
//
// bind makes a socket's file with the mode 0777 less the process's umask, and only then can it be narrowed:
// for a moment others may connect. A umask belongs to the whole process, so setting it for that moment would
// change the files that others are just making. Linux takes the mode from the socket itself, which can be set
// before bind. It is called by the control socket and by the front door's listeners.
//
// What always holds: the file is never wider than its mode; it is removed when the listener is closed; a
// socket that nobody answers on, which a killed process has left, is replaced, and any other file is left
// alone.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned by Listen when a process answers on the socket.
var ErrInUse = errors.New("another process listens there")

// Listen listens on the unix socket path, whose file has the permissions mode from its first moment on.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: control(mode)}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	// What the umask took away is given back.
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// control gives a socket that is not bound yet the mode that its file will have: on Linux bind takes it over,
// less the umask.
func control(mode fs.FileMode) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) })
		return errors.Join(e, err)
	}
}

// clear makes room for a socket at path.
func clear(path string) error {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return ErrInUse
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("a file that is not a socket is in the way: %s", path)
	}
	return os.Remove(path)
}
