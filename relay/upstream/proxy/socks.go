package proxy

import (
	"context"
	"errors"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

// socks has a SOCKS5 proxy connect c to address. A name goes to the proxy as it is (RFC 1928, 5).
func (p *Proxy) socks(ctx context.Context, c net.Conn, address, password string) (net.Conn, error) {
	var auth *proxy.Auth
	if p.user != "" {
		auth = &proxy.Auth{User: p.user, Password: password}
	}
	d, err := proxy.SOCKS5("tcp", p.Addr(), auth, connected{c})
	if err != nil {
		return nil, err
	}
	through, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, p.socksError(err, address)
	}
	return through, nil
}

// connected is a dialer whose connection is there already.
type connected struct{ net.Conn }

// Dial implements proxy.Dialer.
func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

// DialContext implements proxy.ContextDialer.
func (c connected) DialContext(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }

// socksError tells the errors of x/net/proxy apart. They have no types, only texts, which a test holds.
func (p *Proxy) socksError(err error, address string) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // op itself says the addresses, as we do
	}
	text := err.Error()
	reply, refused := strings.CutPrefix(text, "unknown error ") // RFC 1928, 6: REP
	switch {
	case refused:
		return p.failed(ReasonRefused, "refuses to connect to "+address+": "+reply)
	case strings.Contains(text, "no acceptable authentication methods") && p.user == "":
		return p.failed(ReasonCredentials, "wants a user and a password")
	case strings.Contains(text, "no acceptable authentication methods"):
		return p.failed(ReasonCredentials, "takes no user and password")
	case strings.Contains(text, "username/password authentication failed"): // RFC 1929, 2
		return p.failed(ReasonCredentials, "refuses the user "+p.user+" or the password")
	case strings.Contains(text, "invalid username/password"):
		return p.failed(ReasonCredentials, "cannot take a user or password of more than 255 bytes")
	case strings.Contains(text, "unexpected protocol version"):
		return p.failed(ReasonFailed, "does not speak SOCKS5")
	}
	return err
}
