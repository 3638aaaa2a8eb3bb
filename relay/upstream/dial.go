package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"mailwhy/diagnose"
)

// stagger is the head start of each address over the next (RFC 8305, 5: Connection Attempt Delay).
const stagger = 250 * time.Millisecond

// resolve returns the addresses of the host to connect to, which is the proxy's if there is one, alternating
// IPv6 and IPv4 (RFC 8305, 4), and only those that can be reached: with IPv6 switched off, or from the local
// addresses.
func (p *Pool) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, port := p.opt.Host, p.opt.Port
	if p.opt.Proxy != nil {
		host, port = p.opt.Proxy.Host, p.opt.Proxy.Port
	}
	ips, err := p.lookup(ctx, host)
	if err != nil {
		return nil, p.wayErr(ctx, err)
	}
	var six, four []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		switch {
		case !p.opt.reaches(ip):
		case ip.Is4():
			four = append(four, netip.AddrPortFrom(ip, uint16(port)))
		default:
			six = append(six, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	var addrs []netip.AddrPort
	for i := range max(len(six), len(four)) {
		addrs = append(addrs, six[min(i, len(six)):min(i+1, len(six))]...)
		addrs = append(addrs, four[min(i, len(four)):min(i+1, len(four))]...)
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case len(ips) == 0:
		return nil, p.wayErr(ctx, &netError{diagnose.NetDNSNotFound, host + " has no address"})
	case p.opt.NoIPv6:
		return nil, &netError{diagnose.NetLocal,
			host + " has no IPv4 address that can be reached, and IPv6 is off"}
	}
	return nil, &netError{diagnose.NetLocal,
		fmt.Sprintf("%s has no address that can be reached from %s", host, p.opt.LocalAddrs)}
}

// reaches reports whether a connection to ip may be made.
func (o *Options) reaches(ip netip.Addr) bool {
	if o.NoIPv6 && !ip.Is4() {
		return false
	}
	return len(o.LocalAddrs) == 0 || localFor(o.LocalAddrs, ip).IsValid()
}

// localFor is the one of the local addresses that has the family of ip; invalid if there is none.
func localFor(local []netip.Addr, ip netip.Addr) netip.Addr {
	for _, l := range local {
		if l = l.Unmap(); l.Is4() == ip.Unmap().Is4() {
			return l
		}
	}
	return netip.Addr{}
}

func (p *Pool) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	limited, cancel := context.WithTimeout(ctx, p.opt.Timeouts.Connect)
	defer cancel()
	ips, err := p.opt.Lookup(limited, host)
	var dns *net.DNSError
	if err != nil && ctx.Err() == nil && !errors.As(err, &dns) {
		err = &netError{diagnose.NetDNSFailure, err.Error()}
	}
	return ips, err
}

// wayErr is an error on the way to the first host: the proxy's, if there is one.
func (p *Pool) wayErr(ctx context.Context, err error) error {
	if p.opt.Proxy == nil || ctx.Err() != nil || netKind(diagnose.StageConnect, err) == diagnose.NetLocal {
		return err
	}
	return p.opt.Proxy.Unreachable(err)
}

// through has the proxy connect nc to the upstream.
func (p *Pool) through(ctx context.Context, nc net.Conn) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, p.opt.Timeouts.Connect)
	defer cancel()
	return p.opt.Proxy.Tunnel(limited, nc, net.JoinHostPort(p.opt.Host, strconv.Itoa(p.opt.Port)))
}

// dialed is the result of connecting to one address.
type dialed struct {
	i   int
	nc  net.Conn
	err error
}

// dialFirst connects to the first of addrs that answers, giving each a head start over the next (RFC 8305,
// 5). rest are the addresses that are still worth trying. If none answers, at and err are those of the
// first.
func (p *Pool) dialFirst(
	ctx context.Context, addrs []netip.AddrPort,
) (nc net.Conn, at netip.AddrPort, rest []netip.AddrPort, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan dialed, len(addrs))
	failed := make([]error, len(addrs))
	begun, open := 0, 0
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			if begun < len(addrs) {
				go p.dialInto(ctx, answers, begun, addrs[begun])
				begun, open = begun+1, open+1
				next.Reset(stagger)
			}
		case a := <-answers:
			open--
			if a.err == nil {
				go closeLate(answers, open)
				return a.nc, addrs[a.i], remaining(addrs, failed, a.i), nil
			}
			failed[a.i] = a.err
			if open == 0 && begun == len(addrs) {
				return nil, addrs[0], nil, failed[0]
			}
			next.Reset(0)
		}
	}
}

func (p *Pool) dialInto(ctx context.Context, answers chan<- dialed, i int, at netip.AddrPort) {
	nc, err := p.dialOne(ctx, at)
	answers <- dialed{i, nc, err}
}

// dialOne connects to one address.
func (p *Pool) dialOne(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, p.opt.Timeouts.Connect)
	defer cancel()
	nc, err := p.opt.Dial(limited, "tcp", at.String())
	if err != nil && ctx.Err() != nil {
		return nil, context.Canceled
	}
	if err != nil {
		return nil, p.wayErr(ctx, err)
	}
	return nc, nil
}

// closeLate closes the connections that were made after the first.
func closeLate(answers <-chan dialed, n int) {
	for range n {
		if a := <-answers; a.nc != nil {
			a.nc.Close()
		}
	}
}

// remaining are the addresses that have not failed and are not in use.
func remaining(addrs []netip.AddrPort, failed []error, used int) []netip.AddrPort {
	var rest []netip.AddrPort
	for i, a := range addrs {
		if i != used && failed[i] == nil {
			rest = append(rest, a)
		}
	}
	return rest
}

// dialer is the Dial used if Options have none.
func dialer(local []netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		if to, err := netip.ParseAddrPort(address); err == nil {
			if l := localFor(local, to.Addr()); l.IsValid() {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l, 0))
			}
		}
		return d.DialContext(ctx, network, address)
	}
}
