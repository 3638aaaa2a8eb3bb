package smtpd

import (
	"fmt"
	"io/fs"
	"net"

	"mailwhy/relay/internal/socket"
)

// Open opens the listener. The file of a unix socket has the permissions mode from the moment it exists,
// whatever the umask. Open replaces a socket that a dead process left behind, but not one that answers, nor
// any other file. For TCP, mode is ignored.
func (l *Listen) Open(mode fs.FileMode) (net.Listener, error) {
	if l.Network == "unix" {
		ln, err := socket.Listen(l.Addr, mode)
		if err != nil {
			return nil, fmt.Errorf("listen on unix:%s: %w", l.Addr, err)
		}
		return ln, nil
	}
	ln, err := net.Listen(l.Network, l.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return ln, nil
}
