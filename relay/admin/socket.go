package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// listen opens the socket at path, mode 0600 from its first moment: it is made under another name and renamed. A socket
// that a killed relay left behind is replaced; one that answers is another relay's.
func listen(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: another relay answers there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("control socket %s: a file that is no socket is in the way", path)
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(fresh, 0o600); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		l.Close()
		os.Remove(fresh)
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return &socket{l, path}, nil
}

// socket is a listener that removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

// Close implements net.Listener.
func (s *socket) Close() error {
	os.Remove(s.path) // first, so that nobody connects to what is ending
	return s.UnixListener.Close()
}
