// Package guard stands in front of the web page: which requests are answered at all, and what every answer
// tells the browser. It knows nothing of the pages.
//
// What always holds:
//
//   - A request whose Host is not one of ours gets 421 and nothing else, whatever its path: a name that a
//     stranger lets resolve to this machine (DNS rebinding) opens nothing.
//   - A request that changes something and comes from a page of another origin, the same host at another
//     port included, gets 403 (http.CrossOriginProtection).
//   - A header that a proxy sets is believed only from the networks of proxies; from others it is taken out
//     of the request.
//   - Every answer forbids scripts, styles, forms and frames that are not the page's own, and is not kept by
//     browsers or proxies.
package guard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Policy is the Content-Security-Policy of every answer.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Options are what a Guard is made of.
type Options struct {
	Hosts      []string       // names and addresses, without ports, besides localhost and loopback addresses
	Proxies    []netip.Prefix // whose headers are believed
	AuthHeader string         // names the user; "": none does
}

// Guard is made by New.
type Guard struct {
	o     Options
	hosts map[string]bool
	cross *http.CrossOriginProtection
}

// New makes a Guard.
func New(o Options) *Guard {
	g := &Guard{o: o, hosts: map[string]bool{"localhost": true}, cross: http.NewCrossOriginProtection()}
	for _, h := range o.Hosts {
		g.hosts[strings.ToLower(h)] = true
	}
	return g
}

// Wrap puts the guard in front of a handler.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !g.knows(r.Host) {
			http.Error(w, "This host name is not one of the relay's page. Add it to page.hosts.",
				http.StatusMisdirectedRequest) // RFC 9110, 15.5.20
			return
		}
		if err := g.cross.Check(r); err != nil {
			http.Error(w, "The request comes from another site, and was not carried out.",
				http.StatusForbidden)
			return
		}
		if !g.proxied(r) {
			r.Header.Del("X-Forwarded-Proto")
			if g.o.AuthHeader != "" {
				r.Header.Del(g.o.AuthHeader)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a Host is one of ours: localhost, a loopback address, or listed; at any port.
func (g *Guard) knows(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	ip, err := netip.ParseAddr(name)
	return g.hosts[name] || err == nil && ip.Unmap().IsLoopback()
}

// proxied reports whether a request comes from a trusted proxy.
func (g *Guard) proxied(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, p := range g.o.Proxies {
		if p.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// User is the user whom a trusted proxy names; "" if none does. It is for requests that passed the guard.
// More than one name is none.
func (g *Guard) User(r *http.Request) string {
	if g.o.AuthHeader == "" {
		return ""
	}
	if names := r.Header.Values(g.o.AuthHeader); len(names) == 1 {
		return strings.TrimSpace(names[0])
	}
	return ""
}

// HTTPS reports whether the browser speaks https, to us or to a trusted proxy. It is for requests that passed
// the guard.
func HTTPS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
