// Package proxy tells what reverse proxies say of a request to the web page: who sends it, and whether the
// browser speaks https. What always holds: a header that a proxy sets is believed only from the networks of
// proxies; from others it is taken out of the request.
package proxy

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are those that may stand in front of the page.
type Proxies struct {
	Networks   []netip.Prefix // whose headers are believed
	AuthHeader string         // names the user; "": none does
}

// Wrap takes out of requests what only a proxy may say, and passes them to next.
func (p *Proxies) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.sent(r) {
			r.Header.Del("X-Forwarded-Proto")
			if p.AuthHeader != "" {
				r.Header.Del(p.AuthHeader)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// sent reports whether a request comes from a trusted proxy.
func (p *Proxies) sent(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, n := range p.Networks {
		if n.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// User is the user whom a trusted proxy names; "" if none does. It is for requests that passed Wrap.
// More than one name is none.
func (p *Proxies) User(r *http.Request) string {
	if p.AuthHeader == "" {
		return ""
	}
	if names := r.Header.Values(p.AuthHeader); len(names) == 1 {
		return strings.TrimSpace(names[0])
	}
	return ""
}

// HTTPS reports whether the browser speaks https, to us or to a trusted proxy. It is for requests that passed
// Wrap.
func HTTPS(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",") // of several proxies, the outermost
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https")
}
