// Package dnsclient asks a recursive resolver for the records that mail depends on.
//
// The system's resolver hides what a check must tell: whether a name does not exist or only lacks the type
// (RFC 8020, RFC 2308), the CNAMEs on the way, and several TXT records at one name. A Client asks over UDP
// and, for a cut answer, over TCP (RFC 7766), each server in turn. It is safe for concurrent use and keeps
// nothing between calls.
//
// What always holds: an Answer is what a server said, also that there is nothing. An error means that no
// server gave an answer, so nothing is known about the name.
package dnsclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Type is a record type that can be asked for.
type Type uint16

// The types.
const (
	A     = Type(dns.TypeA)
	AAAA  = Type(dns.TypeAAAA)
	CNAME = Type(dns.TypeCNAME)
	MX    = Type(dns.TypeMX)
	TXT   = Type(dns.TypeTXT)
	PTR   = Type(dns.TypePTR)
)

// String is the type's name: TXT.
func (t Type) String() string { return dns.TypeToString[uint16(t)] }

// Exchanger is one MX record.
type Exchanger struct {
	Preference uint16
	Host       string
}

// Answer is what DNS has at a name, of the type that was asked for. Names are in lower case without the final
// dot.
type Answer struct {
	Exists  bool     // false: neither the name nor one below it exists (NXDOMAIN)
	Aliases []string // the targets of the CNAMEs that were followed, in their order
	TXT     []string // each record's strings joined (RFC 7208, 3.3; RFC 6376, 3.6.2.2)
	MX      []Exchanger
	Addrs   []netip.Addr // of A or AAAA
	Names   []string     // of PTR
}

// Reverse is the name at which the PTR records of an address stand (RFC 1035, 3.5; RFC 3596, 2.5).
func Reverse(ip netip.Addr) string {
	name, err := dns.ReverseAddr(ip.Unmap().WithZone("").String())
	if err != nil {
		return "" // an address that is not valid, for which there is no name
	}
	return name
}

// Empty reports whether there is no record of the type. SPF calls that a void lookup (RFC 7208, 4.6.4).
func (a *Answer) Empty() bool { return len(a.TXT)+len(a.MX)+len(a.Addrs)+len(a.Names) == 0 }

// Client asks the servers in turn.
type Client struct {
	Servers []string      // addresses with ports
	Timeout time.Duration // for each question to each server
}

// System is a client of the servers in a file in the format of resolv.conf(5).
func System(file string, timeout time.Duration) (*Client, error) {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, err
	}
	client := &Client{Timeout: timeout}
	for _, s := range c.Servers {
		client.Servers = append(client.Servers, net.JoinHostPort(s, c.Port))
	}
	if len(client.Servers) == 0 {
		return nil, fmt.Errorf("%s names no server", file)
	}
	return client, nil
}

// bufferSize is offered for UDP answers: what passes every path in one piece (RFC 9715).
const bufferSize = 1232

// Lookup asks for the records of a type at a name. The name is absolute; search lists are not used.
func (c *Client) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, fmt.Errorf("%q is not a valid name in DNS", name)
	}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(t))
	q.SetEdns0(bufferSize, false)
	var errs []error
	for _, server := range c.Servers {
		r, err := c.ask(ctx, q, server)
		if err == nil {
			return answer(r, name, t), nil
		}
		errs = append(errs, fmt.Errorf("%s %s at %s: %w", t, name, server, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("there is no DNS server to ask")
	}
	return nil, errors.Join(errs...)
}

// ask sends q to one server. Anything but an answer or a denial is an error.
func (c *Client) ask(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	r, _, err := (&dns.Client{Timeout: c.Timeout}).ExchangeContext(ctx, q, server)
	if err == nil && r.Truncated {
		r, _, err = (&dns.Client{Timeout: c.Timeout, Net: "tcp"}).ExchangeContext(ctx, q, server)
	}
	switch {
	case err != nil:
		return nil, err
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return nil, errors.New("the server answered " + dns.RcodeToString[r.Rcode])
	}
	return r, nil
}

// answer reads the records that belong to the name, also those behind its CNAMEs.
func answer(r *dns.Msg, name string, t Type) *Answer {
	a := &Answer{Exists: r.Rcode == dns.RcodeSuccess}
	at := plain(name)
	for _, next := range chain(r.Answer, at) {
		a.Aliases = append(a.Aliases, next)
		if t != CNAME {
			at = next
		}
	}
	for _, rr := range r.Answer {
		if plain(rr.Header().Name) != at || rr.Header().Rrtype != uint16(t) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.TXT:
			a.TXT = append(a.TXT, unescape(strings.Join(rr.Txt, "")))
		case *dns.PTR:
			a.Names = append(a.Names, plain(rr.Ptr))
		case *dns.MX:
			a.MX = append(a.MX, Exchanger{rr.Preference, plain(rr.Mx)})
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A); ok {
				a.Addrs = append(a.Addrs, addr.Unmap())
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA); ok {
				a.Addrs = append(a.Addrs, addr)
			}
		}
	}
	return a
}

// chain follows the CNAMEs of an answer from a name. A loop ends it.
func chain(rrs []dns.RR, at string) (targets []string) {
	for range rrs {
		next := ""
		for _, rr := range rrs {
			if c, ok := rr.(*dns.CNAME); ok && plain(c.Hdr.Name) == at {
				next = plain(c.Target)
			}
		}
		if next == "" {
			break
		}
		targets, at = append(targets, next), next
	}
	return targets
}

// plain is a name in lower case without the final dot.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// unescape undoes the presentation form of a character string, in which the library keeps it (RFC 1035, 5.1).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && digits(s[i+1:i+4]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
