// Package proxy goes to a server through a proxy: SOCKS5 (RFC 1928, 1929) or HTTP CONNECT (RFC 9110, 9.3.6),
// the latter also over TLS.
//
// The upstream room connects to the proxy as it would to the upstream and then calls Tunnel; the token
// requests of OAuth call DialContext, which does both. What always holds: the proxy resolves the names, so
// that it can reach hosts which only it knows; a failure is an *Error, which says whether the proxy cannot be
// reached, refuses our credentials, or refuses the target; everything read is bounded in size and time; no
// error holds a password; and the environment (ALL_PROXY and the like) is never looked at.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/internal/tlsconf"
)

// The reasons of failures, which the guide explains.
const (
	ReasonUnreachable diagnose.Reason = "proxy_unreachable"
	ReasonCredentials diagnose.Reason = "proxy_auth_failed"
	ReasonRefused     diagnose.Reason = "proxy_refused"
	ReasonFailed      diagnose.Reason = "proxy_failure"
)

// Error is a failure of the way through a proxy. It holds no secret.
type Error struct {
	Reason diagnose.Reason
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Options say which proxy and how to log in to it.
type Options struct {
	URL      string                 // socks5://, http:// or https://, then [user@]host[:port]
	Password func() (string, error) // read at each use; nil: none
	CAFile   string                 // of an https:// proxy, PEM; "": the system's authorities
}

// Proxy is a proxy. It is safe for concurrent use.
type Proxy struct {
	Host string
	Port int

	scheme   string
	user     string
	password func() (string, error)
	tls      *tls.Config // of an https:// proxy
}

// New checks the options and makes a Proxy. It connects to nothing.
func New(o Options) (*Proxy, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" { // the error would quote a password
		return nil, errors.New("the proxy's URL is not valid")
	}
	p := &Proxy{Host: u.Hostname(), scheme: u.Scheme, user: u.User.Username(), password: o.Password}
	switch p.scheme {
	case "socks5":
		p.Port = 1080 // RFC 1928, 3
	case "http":
		p.Port = 80
	case "https":
		p.Port = 443
		conf := tlsconf.Client{Mode: tlsconf.Implicit, CAFile: o.CAFile, MinVersion: tls.VersionTLS12}
		if p.tls, err = conf.Config(p.Host, true); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	default:
		return nil, fmt.Errorf("a proxy's URL cannot begin with %q", p.scheme)
	}
	if u.Port() != "" {
		if p.Port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, fmt.Errorf("the proxy's port %q is not a number", u.Port())
		}
	}
	return p, nil
}

// Addr is the proxy's host and port.
func (p *Proxy) Addr() string { return net.JoinHostPort(p.Host, strconv.Itoa(p.Port)) }

// DialContext connects to address through the proxy. It has the signature that http.Transport wants.
func (p *Proxy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, p.Addr())
	if err != nil {
		return nil, p.Unreachable(err)
	}
	through, err := p.Tunnel(ctx, c, address)
	if err != nil {
		c.Close()
		return nil, err
	}
	return through, nil
}

// Unreachable is the failure of a connection to the proxy itself.
func (p *Proxy) Unreachable(err error) *Error {
	return p.failed(ReasonUnreachable, "cannot be reached: "+err.Error())
}

// failed is a failure of this proxy.
func (p *Proxy) failed(reason diagnose.Reason, what string) *Error {
	return &Error{reason, "the proxy " + p.Addr() + " " + what}
}

// Tunnel has the proxy connect c, which is connected to the proxy, to address, host:port. It returns the
// connection to use from then on; on an error it leaves c to the caller, who closes it. The error is an
// *Error, or the context's.
func (p *Proxy) Tunnel(ctx context.Context, c net.Conn, address string) (net.Conn, error) {
	password := ""
	if p.password != nil {
		var err error
		if password, err = p.password(); err != nil {
			return nil, p.failed(ReasonCredentials, "wants a password that cannot be read: "+err.Error())
		}
	}
	if limit, ok := ctx.Deadline(); ok {
		c.SetDeadline(limit)
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	var through net.Conn
	var err error
	if p.scheme == "socks5" {
		through, err = p.socks(ctx, c, address, password)
	} else {
		through, err = p.connect(ctx, c, address, password)
	}
	switch stopped := stop(); {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case err == nil && !stopped:
		return nil, p.failed(ReasonFailed, "did not answer in time") // the limit passed at the last moment
	}
	if err != nil {
		return nil, p.explain(err, address)
	}
	c.SetDeadline(time.Time{})
	return through, nil
}

// explain makes an *Error of what went wrong while the proxy was asked for address.
func (p *Proxy) explain(err error, address string) error {
	var known *Error
	var timeout net.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return p.failed(ReasonFailed, "did not answer in time when it was asked for "+address)
	}
	return p.failed(ReasonFailed, "failed when it was asked for "+address+": "+err.Error())
}
