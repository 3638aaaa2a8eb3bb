package webhook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden is returned for an address that is never connected to.
var errForbidden = errors.New("connections to this address are refused")

// metadata are addresses at which clouds tell a machine its secrets, beside the link-local ones.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),   // AWS
		netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
		netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
		netip.MustParseAddr("168.63.129.16"),   // Azure
		netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	}
}

// private are networks that are not public, beside those that net/netip knows: the IANA registries of special
// purposes (RFC 6890).
func private() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
		netip.MustParsePrefix("192.0.0.0/24"),   // RFC 6890
		netip.MustParsePrefix("198.18.0.0/15"),  // RFC 2544
		netip.MustParsePrefix("0.0.0.0/8"),      // RFC 1122
		netip.MustParsePrefix("240.0.0.0/4"),    // RFC 1112
		netip.MustParsePrefix("fec0::/10"),      // RFC 3879
		netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215
	}
}

// control is the Control of a net.Dialer: it sees the address that a name was resolved to, just before the
// connection.
func control(allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %s", errForbidden, address)
		}
		return checkAddress(at.Addr(), allowPrivate)
	}
}

// checkAddress refuses link-local and metadata addresses, and private ones if they are not allowed. An IPv6
// address that stands for an IPv4 one is that one.
func checkAddress(a netip.Addr, allowPrivate bool) error {
	a = a.Unmap().WithZone("")
	refuse := func(what string) error { return fmt.Errorf("%w: %s is %s", errForbidden, a, what) }
	for _, m := range metadata() {
		if a == m {
			return refuse("where a cloud tells a machine its secrets")
		}
	}
	switch {
	case a.IsLinkLocalUnicast(), a.IsMulticast(), a.IsUnspecified():
		return refuse("link-local, multicast or unspecified")
	case !allowPrivate && isPrivate(a):
		return refuse("private; private_addresses = true allows it")
	}
	if v4, ok := embedded(a); ok {
		return checkAddress(v4, allowPrivate)
	}
	return nil
}

// isPrivate reports whether an address is not a public one.
func isPrivate(a netip.Addr) bool {
	if a.IsPrivate() || a.IsLoopback() {
		return true
	}
	for _, p := range private() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// embedded is the IPv4 address that an IPv6 one leads to: by NAT64 (RFC 6052, 2.1), 6to4 (RFC 3056, 2),
// Teredo (RFC 4380, 4), or the old form ::a.b.c.d (RFC 4291, 2.5.5.1).
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return a, false
	}
	b := a.As16()
	four := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return four(12), true
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return four(2), true
	case netip.MustParsePrefix("2001::/32").Contains(a):
		var client [4]byte
		binary.BigEndian.PutUint32(client[:], ^binary.BigEndian.Uint32(b[12:]))
		return netip.AddrFrom4(client), true
	case netip.MustParsePrefix("::/96").Contains(a) && !a.IsLoopback():
		return four(12), true
	}
	return a, false
}
