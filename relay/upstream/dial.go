package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"mailwhy/diagnose"
)

// stagger is the head start of each address over the next (RFC 8305, 5: Connection Attempt Delay).
const stagger = 250 * time.Millisecond

// resolve returns the addresses of the host, alternating IPv6 and IPv4 (RFC 8305, 4), and only those that
// the local address can reach.
func (p *Pool) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	ips, err := p.lookup(ctx)
	if err != nil {
		return nil, err
	}
	var six, four []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		switch local := p.opt.LocalAddr; {
		case local.IsValid() && local.Unmap().Is4() != ip.Is4():
		case ip.Is4():
			four = append(four, netip.AddrPortFrom(ip, uint16(p.opt.Port)))
		default:
			six = append(six, netip.AddrPortFrom(ip, uint16(p.opt.Port)))
		}
	}
	var addrs []netip.AddrPort
	for i := range max(len(six), len(four)) {
		addrs = append(addrs, six[min(i, len(six)):min(i+1, len(six))]...)
		addrs = append(addrs, four[min(i, len(four)):min(i+1, len(four))]...)
	}
	if len(addrs) == 0 && len(ips) > 0 {
		return nil, &netError{diagnose.NetLocal,
			fmt.Sprintf("%s has no address that the local address %s can reach", p.opt.Host, p.opt.LocalAddr)}
	}
	if len(addrs) == 0 {
		return nil, &netError{diagnose.NetDNSNotFound, p.opt.Host + " has no address"}
	}
	return addrs, nil
}

func (p *Pool) lookup(ctx context.Context) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(p.opt.Host); err == nil {
		return []netip.Addr{ip}, nil
	}
	limited, cancel := context.WithTimeout(ctx, p.opt.Timeouts.Connect)
	defer cancel()
	ips, err := p.opt.Lookup(limited, p.opt.Host)
	var dns *net.DNSError
	if err != nil && ctx.Err() == nil && !errors.As(err, &dns) {
		err = &netError{diagnose.NetDNSFailure, err.Error()}
	}
	return ips, err
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
		err = context.Canceled
	}
	return nc, err
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
func dialer(local netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext
}
