package session

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
)

// greeter is a Session that knows how the server answered EHLO. Many servers say there whom they see.
type greeter interface {
	// Hello is the first line of the reply to EHLO.
	Hello() string
}

// source is about where connections come from, of a session that works.
func (r *run) source(s Session) {
	g, ok := s.(greeter)
	if r.Sources == nil || !ok {
		return
	}
	r.add(check.OK, "source", "%s", whence(r.Sources(), addressesIn(g.Hello())))
}

// whence says where connections come from, and what the server sees of it.
func whence(local, seen []netip.Addr) string {
	text := "connections come from " + list(local)
	if len(local) == 0 {
		text = "connections go through a proxy"
	}
	if len(seen) > 0 {
		return text + ", and the server sees " + list(seen)
	}
	return text
}

func list(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, " and ")
}

// hints adds what else may explain a refusal: the address that we come from, to those who know their clients
// by address, and the region to those who refuse a login.
func (r *run) hints(ctx context.Context, a *relay.Attempt, d *diagnose.Diagnosis) {
	switch {
	case a.Reply.Code == 0:
	case byAddress(a, d):
		r.addresses(ctx, a)
	case a.Stage == diagnose.StageAuth && a.Reply.Class() == 5:
		r.regions()
	}
}

// regions names the other hosts of the provider: the login of one region is refused by the others.
func (r *run) regions() {
	if len(r.Others) == 0 {
		return
	}
	l := r.add(check.Warning, "region", "the provider has other hosts, for other regions or uses: %s",
		strings.Join(r.Others, ", "))
	l.Fix = "Use the host that belongs to the account: the login of one region is refused by the others."
}

// byAddress reports whether a refusal is of where we come from, or may be: providers that know their
// customers by address refuse others in many words.
func byAddress(a *relay.Attempt, d *diagnose.Diagnosis) bool {
	early := slices.Contains(
		[]diagnose.Stage{diagnose.StageGreeting, diagnose.StageHello, diagnose.StageAuth}, a.Stage)
	if a.Reply.Code == 525 || early && a.Reply.Enhanced.String() == "5.7.1" {
		return true
	}
	return slices.Contains([]diagnose.Reason{"relay_denied", "client_not_allowed", "no_reverse_dns",
		"blocklisted", "ip_banned", "dynamic_ip", "ip_unconfirmed_rate"}, d.Reason)
}

// addresses shows what to allow at a provider that refuses us by our address, and what DNS says of it.
func (r *run) addresses(ctx context.Context, a *relay.Attempt) {
	if r.Sources == nil || r.told {
		return
	}
	r.told = true
	local, seen := r.Sources(), addressesIn(a.Reply.Text)
	if len(seen) == 0 {
		seen = addressesIn(r.hello(ctx))
	}
	l := r.add(check.Warning, "source", "%s", whence(local, seen))
	public := seen
	for _, ip := range local {
		if !private(ip) && !slices.Contains(public, ip) {
			public = append(public, ip)
		}
	}
	if len(public) == 0 {
		l.Fix = "The server sees the public address of this network, which is not known here. Allow it at " +
			"the provider, or log in with a user if it has one."
		return
	}
	l.Fix = "If the provider keeps a list of addresses, allow " + list(public) + " there."
	for _, ip := range public {
		r.pointer(ctx, ip)
	}
}

// private reports whether an address means nothing to others.
func private(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()
}

// pointer compares the name of an address with the one in EHLO.
func (r *run) pointer(ctx context.Context, ip netip.Addr) {
	if r.Pointers == nil {
		return
	}
	names, err := r.Pointers(ctx, ip)
	agree := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, r.Hello) })
	switch {
	case err != nil:
		r.add(check.Warning, "ptr", "the name of %s could not be looked up: %v", ip, err)
	case len(names) == 0:
		l := r.add(check.Warning, "ptr", "%s has no PTR record", ip)
		l.Fix = "Have the owner of the address, the hoster or provider, set it to " + r.Hello + "."
	case !agree:
		l := r.add(check.Warning, "ptr", "%s is %s, but hello is %s", ip, strings.Join(names, " and "),
			r.Hello)
		l.Fix = fmt.Sprintf("Set hello = %q, or have the owner of the address set its PTR record to %s.",
			names[0], r.Hello)
	default:
		r.add(check.OK, "ptr", "%s is %s, as hello is", ip, r.Hello)
	}
}

// hello asks for the reply to EHLO over a connection of its own; "" if there is none.
func (r *run) hello(ctx context.Context) string {
	c, err := r.dial(ctx, r.Port)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(r.Now().Add(r.Timeout))
	if r.Implicit {
		// Nothing secret is sent.
		t := tls.Client(c, &tls.Config{ServerName: r.Host, InsecureSkipVerify: true})
		if t.HandshakeContext(ctx) != nil {
			return ""
		}
		c = t
	}
	return ehlo(c, r.Options.Hello)
}

func ehlo(c net.Conn, name string) string {
	in, err := greeting(c)
	if err != nil {
		return ""
	}
	if _, err := fmt.Fprintf(c, "EHLO %s\r\n", name); err != nil {
		return ""
	}
	_, text, err := in.ReadResponse(2)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// addressesIn finds IP addresses in a text, bare or as address literals (RFC 5321, 4.1.3).
func addressesIn(text string) (found []netip.Addr) {
	apart := func(r rune) bool { return strings.ContainsRune(" \t\r\n[]()<>,;'\"=", r) }
	for _, word := range strings.FieldsFunc(text, apart) {
		word = strings.TrimSuffix(strings.TrimPrefix(word, "IPv6:"), ".")
		ip, err := netip.ParseAddr(word)
		if err != nil || ip.IsUnspecified() || !strings.ContainsAny(word, ".:") {
			continue
		}
		if ip = ip.Unmap().WithZone(""); !slices.Contains(found, ip) && len(found) < 4 {
			found = append(found, ip)
		}
	}
	return found
}
