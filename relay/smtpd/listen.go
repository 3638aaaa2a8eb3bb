package smtpd

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"mailwhy/relay/internal/socket"
)

// Open opens the listener. The file of a unix socket has the permissions mode from the moment it exists,
// whatever the umask. The host 0.0.0.0 stands for all IPv4 addresses, [::] or none for all of both
// families. Open replaces a socket that a dead process left behind, but not one that answers, nor
// any other file. For TCP, mode is ignored.
func (l *Listen) Open(mode fs.FileMode) (net.Listener, error) {
	if l.Network == "unix" {
		ln, err := socket.Listen(l.Addr, mode)
		if err != nil {
			return nil, fmt.Errorf("listen on unix:%s: %w", l.Addr, err)
		}
		return ln, nil
	}
	network := l.Network
	if host, _, err := net.SplitHostPort(l.Addr); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
			network = "tcp4" // else Go takes 0.0.0.0 for all addresses, those of IPv6 too
		}
	}
	ln, err := net.Listen(network, l.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return ln, nil
}
