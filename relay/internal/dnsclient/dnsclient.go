// Package dnsclient asks a recursive resolver for the records that mail depends on.
//
// The system's resolver hides what a check must tell: whether a name does not exist or only lacks the type
// (RFC 8020, RFC 2308), the CNAMEs on the way, and several TXT records at one name. A Client asks over UDP
// and, for a cut answer, over TCP (RFC 7766), each server in turn. It is safe for concurrent use and keeps
// nothing between calls.
//
// What always holds: an Answer is what a server said, also that there is nothing. An error means that no
// server gave an answer, so nothing is known about the name.
//
// Messages are packed and parsed by golang.org/x/net/dns/dnsmessage, which knows the few types that mail
// needs, and so costs the program a tenth of what a complete DNS library does.
package dnsclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Type is a record type that can be asked for.
type Type uint16

// The types.
const (
	A     = Type(dnsmessage.TypeA)
	AAAA  = Type(dnsmessage.TypeAAAA)
	CNAME = Type(dnsmessage.TypeCNAME)
	MX    = Type(dnsmessage.TypeMX)
	TXT   = Type(dnsmessage.TypeTXT)
	PTR   = Type(dnsmessage.TypePTR)
)

// String is the type's name: TXT.
func (t Type) String() string { return strings.TrimPrefix(dnsmessage.Type(t).String(), "Type") }

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

// Empty reports whether there is no record of the type. SPF calls that a void lookup (RFC 7208, 4.6.4).
func (a *Answer) Empty() bool { return len(a.TXT)+len(a.MX)+len(a.Addrs)+len(a.Names) == 0 }

// Reverse is the name at which the PTR records of an address stand (RFC 1035, 3.5; RFC 3596, 2.5). For an
// address that is not valid it is "".
func Reverse(ip netip.Addr) string {
	ip = ip.Unmap()
	octets := ip.AsSlice()
	slices.Reverse(octets)
	var b strings.Builder
	for _, o := range octets {
		if ip.Is4() {
			b.WriteString(strconv.Itoa(int(o)) + ".")
		} else {
			fmt.Fprintf(&b, "%x.%x.", o&0xf, o>>4)
		}
	}
	switch {
	case ip.Is4():
		b.WriteString("in-addr.arpa.")
	case ip.Is6():
		b.WriteString("ip6.arpa.")
	}
	return b.String()
}

// Client asks the servers in turn.
type Client struct {
	Servers []string      // addresses with ports
	Timeout time.Duration // for each question to each server
}

// System is a client of the servers in a file in the format of resolv.conf(5).
func System(file string, timeout time.Duration) (*Client, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	client := &Client{Timeout: timeout}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			client.Servers = append(client.Servers, net.JoinHostPort(f[1], "53"))
		}
	}
	if len(client.Servers) == 0 {
		return nil, fmt.Errorf("%s names no server", file)
	}
	return client, nil
}

// Lookup asks for the records of a type at a name. The name is absolute; search lists are not used.
func (c *Client) Lookup(ctx context.Context, name string, t Type) (*Answer, error) {
	q, err := newQuestion(name, t)
	if err != nil {
		return nil, fmt.Errorf("%q is not a valid name in DNS", name)
	}
	var errs []error
	for _, server := range c.Servers {
		r, err := c.ask(ctx, q, server)
		if err == nil {
			return r.answer(name, t), nil
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
func (c *Client) ask(ctx context.Context, q *question, server string) (*reply, error) {
	r, err := c.exchange(ctx, q, "udp", server)
	if err == nil && r.truncated {
		r, err = c.exchange(ctx, q, "tcp", server)
	}
	switch {
	case err != nil:
		return nil, err
	case r.truncated:
		return nil, errors.New("the server cut its answer over TCP too")
	case r.code != dnsmessage.RCodeSuccess && r.code != dnsmessage.RCodeNameError:
		return nil, errors.New("the server answered " + codeName(r.code))
	}
	return r, nil
}

// answer reads the records that belong to the name, also those behind its CNAMEs.
func (r *reply) answer(name string, t Type) *Answer {
	a := &Answer{Exists: r.code == dnsmessage.RCodeSuccess}
	at := plain(name)
	for _, next := range r.chain(at) {
		a.Aliases = append(a.Aliases, next)
		if t != CNAME {
			at = next
		}
	}
	for _, rec := range r.records {
		if rec.name != at || rec.t != t {
			continue
		}
		switch body := rec.body.(type) {
		case *dnsmessage.TXTResource:
			a.TXT = append(a.TXT, strings.Join(body.TXT, ""))
		case *dnsmessage.PTRResource:
			a.Names = append(a.Names, plain(body.PTR.String()))
		case *dnsmessage.MXResource:
			a.MX = append(a.MX, Exchanger{body.Pref, plain(body.MX.String())})
		case *dnsmessage.AResource:
			a.Addrs = append(a.Addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			a.Addrs = append(a.Addrs, netip.AddrFrom16(body.AAAA))
		}
	}
	return a
}

// chain follows the CNAMEs of an answer from a name. A loop ends it.
func (r *reply) chain(at string) (targets []string) {
	for range r.records {
		next := ""
		for _, rec := range r.records {
			if c, ok := rec.body.(*dnsmessage.CNAMEResource); ok && rec.name == at {
				next = plain(c.CNAME.String())
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
