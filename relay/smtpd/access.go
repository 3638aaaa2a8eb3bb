package smtpd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mailwhy/relay/internal/address"
	"mailwhy/relay/internal/address/pattern"
)

// Access says who may send what to whom. Nobody may send without being in one of Networks or authenticated.
//
// A pattern is an address ("app@example.org"), a domain ("@example.org" or "example.org"), the subdomains
// of a domain (".example.org"), the null sender ("<>"), or "*" for everything. Patterns ignore case. An
// empty list of allowed patterns allows everything.
type Access struct {
	Networks        []Network
	Unnamed         bool   // Networks are only this host, because the operator has named none yet
	Users           *Users // nil: there is no AUTH
	AuthRequired    bool   // clients in Networks must authenticate too
	AuthInClear     bool   // AUTH is offered to everybody without TLS
	AllowSenders    []string
	DenySenders     []string
	AllowRecipients []string
	DenyRecipients  []string
}

// Network is a named set of clients. A client of a unix socket is in the networks that contain 127.0.0.1.
type Network struct {
	Name     string // for the log and the metrics
	Prefixes []netip.Prefix
	Senders  []string // patterns of the senders it may use; empty means any that Access allows
	// Lenient accepts what old devices send: addresses without angle brackets, TAB in place of a space, EHLO
	// and HELO without a name, and content whose lines end in LF.
	Lenient bool
	Auth    NetworkAuth
	Accept  AcceptMode
}

// NetworkAuth is what the clients of a network can do to authenticate.
type NetworkAuth int

// The values of a NetworkAuth.
const (
	AuthTLS   NetworkAuth = iota // as a user, with TLS
	AuthClear                    // as a user, also without TLS
	// AuthAny accepts every name and password, for applications that insist on a login. The client stays what
	// its network makes it: no user.
	AuthAny
)

// LoopbackNetwork is the network of this host.
func LoopbackNetwork() Network {
	return Network{Name: "localhost", Prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	}}
}

// Listen describes a listener.
type Listen struct {
	Network string     // "tcp" or "unix"
	Addr    string     // host:port or path
	TLS     bool       // implicit TLS (RFC 8314, 3.3)
	Clear   bool       // STARTTLS is not offered, even with a certificate
	MinTLS  uint16     // lowest version of TLS; 0 means that of Options.TLS
	Bounces bool       // it takes bounce mail of anybody, and relays nothing; see Bounces
	LMTP    bool       // it speaks LMTP (RFC 2033): a reply to the content for each recipient
	Accept  AcceptMode // where Options.Modes has none
	// Proxy are the addresses whose connections begin with a PROXY header, version 1 or 2, that is trusted.
	Proxy []netip.Prefix
}

// loopback reports whether only this host can reach the listener. A proxy on this host can speak for anybody.
func (l *Listen) loopback() bool {
	if len(l.Proxy) > 0 {
		return false
	}
	if l.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(l.Addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || err != nil && strings.EqualFold(host, "localhost")
}

// A set of networks with more public addresses than this (for IPv6, more /64 networks) counts as everybody.
const (
	everybodyV4 = 1 << 24 // a /8
	everybodyV6 = 1 << 44 // a /20
)

// CheckOpen returns an error if a listener would relay for anybody: if it is not on loopback, there is no
// list of allowed recipients, and the networks contain a large part of the public Internet or PROXY headers
// are trusted from there. A listener for bounce mail relays nothing, and may be open to anybody.
func CheckOpen(listens []Listen, a Access) error {
	if closedTo(a.AllowRecipients) || a.AuthRequired {
		return nil
	}
	var prefixes []netip.Prefix
	for _, n := range a.Networks {
		prefixes = append(prefixes, n.Prefixes...)
	}
	var errs []error
	for _, l := range listens {
		if l.loopback() || l.Bounces {
			continue
		}
		if everybody(prefixes) {
			errs = append(errs,
				fmt.Errorf("listener %s would relay for anybody: the networks that may send contain "+
					"most of the Internet; list only your own networks, require AUTH, "+
					"or list the allowed recipients%s", l.Addr, openEntry(a.AllowRecipients)))
		}
		if len(prefixes) > 0 && everybody(l.Proxy) {
			errs = append(errs,
				fmt.Errorf("listener %s would relay for anybody: PROXY headers are trusted from most of "+
					"the Internet, so any client can claim to be in your networks; list the addresses of "+
					"your proxies", l.Addr))
		}
	}
	return errors.Join(errs...)
}

// closedTo reports whether a list of allowed recipients restricts anything. The subdomains of a public
// suffix, such as com or co.uk, count as everybody.
func closedTo(allow []string) bool {
	for _, p := range allow {
		if strings.HasPrefix(p, "@.") && publicSuffix(p[2:]) {
			return false
		}
	}
	return len(allow) > 0
}

// publicSuffix reports whether anybody can register a name under domain: whether it is in the Public Suffix
// List, of registries or of hosting companies. A name that the list does not know, such as internal,
// belongs to somebody.
func publicSuffix(domain string) bool {
	domain, err := address.ToASCII(strings.ToLower(domain))
	if err != nil {
		return false
	}
	suffix, icann := publicsuffix.PublicSuffix(domain)
	return suffix == domain && (icann || strings.Contains(suffix, "."))
}

// openEntry names the entry that makes a list useless; "" without a list.
func openEntry(allow []string) string {
	for _, p := range allow {
		if !closedTo([]string{p}) {
			return fmt.Sprintf(" (the entry %q covers most of the Internet: list the domains themselves)", p)
		}
	}
	return ""
}

// everybody reports whether prefixes contain more public addresses than one organization has.
func everybody(prefixes []netip.Prefix) bool {
	var v4, v6 uint64
	for _, p := range prefixes {
		p = unmapped(p)
		switch {
		case private(p):
		case p.Addr().Is4():
			v4 += 1 << (32 - p.Bits())
		default:
			v6 += 1 << max(63-p.Bits(), 0) // halved, so that ::/0 fits
		}
	}
	return v4 > everybodyV4 || v6 > everybodyV6/2
}

// private reports whether all of p is outside the public Internet.
func private(p netip.Prefix) bool {
	for _, s := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10",
		"fc00::/7", "fe80::/10", "::1/128",
	} {
		outer := netip.MustParsePrefix(s)
		if outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// unmapped turns a prefix of IPv4-mapped addresses into the IPv4 prefix it means (RFC 4291, 2.5.5.2).
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// network finds the network that contains addr; the longest prefix wins. A client of a unix socket has no
// address and counts as 127.0.0.1: the file system decides who can open the socket.
func (a *Access) network(addr netip.Addr, unix bool) *Network {
	if unix {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var found *Network
	bits := -1
	for i := range a.Networks {
		for _, p := range a.Networks[i].Prefixes {
			if p = unmapped(p); p.Contains(addr) && p.Bits() > bits {
				found, bits = &a.Networks[i], p.Bits()
			}
		}
	}
	return found
}

// check refuses patterns that cannot match.
func (a *Access) check() error {
	var errs []error
	lists := [][]string{a.AllowSenders, a.DenySenders, a.AllowRecipients, a.DenyRecipients}
	for i := range a.Networks {
		lists = append(lists, a.Networks[i].Senders)
	}
	for _, list := range lists {
		for _, p := range list {
			if err := CheckPattern(p); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// CheckPattern returns an error if p is not a pattern; see Access. Of other notations it says what to write.
func CheckPattern(p string) error {
	err := pattern.Check(p)
	switch {
	case err == nil:
		return nil
	case p == "*":
		return errors.New(`"*" is not a pattern: leave the list empty for all addresses`)
	case strings.HasPrefix(p, "."), !strings.Contains(p, "@"):
		if pattern.Check("@"+p) == nil {
			return fmt.Errorf("%q is not a pattern: write %q", p, "@"+p)
		}
	}
	return err
}

// fitting is the first of the patterns that fits an address as address.Parse returned it; "" when none does.
// An addr of "" is the null sender.
func fitting(patterns []string, addr string) string {
	if len(patterns) == 0 {
		return ""
	}
	domain, err := address.ToASCII(address.Domain(addr))
	if err != nil {
		domain = address.Domain(addr)
	}
	for _, p := range patterns {
		if matchOne(strings.ToLower(p), addr, strings.ToLower(domain)) {
			return p
		}
	}
	return ""
}

// routed reports whether the local part of an address may name another domain, to which a smarthost would
// forward it: the percent hack, a bang path, or an address in quotes (RFC 5321, appendix C and F.2).
func routed(addr string) bool {
	local, _ := address.Split(addr)
	return strings.ContainsAny(local, "%!@")
}

// named reports whether the address itself is one of the patterns, not only its domain.
func named(patterns []string, addr string) bool {
	for _, p := range patterns {
		if strings.EqualFold(p, addr) {
			return true
		}
	}
	return false
}

// matchOne reports whether the pattern p, in lower case, fits an address, whose domain is given in A-labels.
func matchOne(p, addr, domain string) bool {
	switch {
	case p == "<>":
		return addr == ""
	case addr == "":
		return false
	}
	if suffix, parents := strings.CutPrefix(p, "@."); parents {
		suffix, err := address.ToASCII(suffix)
		return err == nil && strings.HasSuffix(domain, "."+suffix)
	}
	local, want := address.Split(p)
	want, err := address.ToASCII(want)
	if err != nil || want != domain {
		return false
	}
	have, _ := address.Split(addr)
	return local == "" || strings.EqualFold(local, have)
}
