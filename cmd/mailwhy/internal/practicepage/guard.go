package practicepage

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The policies of what the page answers: its own pages, the HTML of a mail, and everything else in a mail. A
// frame with a sandbox has an origin of its own; 'self' is still the address that it came from.
const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
		"img-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	partPolicy = "sandbox; default-src 'none'; frame-ancestors 'none'"
)

// mailPolicy is the policy of a mail's HTML: styles in it, images that are parts of it, and on demand images
// from elsewhere.
func mailPolicy(remote bool) string {
	images := "img-src 'self' data:"
	if remote {
		images += " http: https:"
	}
	return "sandbox; default-src 'none'; style-src 'unsafe-inline'; " + images +
		"; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
}

// guard answers only requests to the page's own names, and those that change something only from its own
// pages.
func (p *Page) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !p.knows(r.Host) {
			http.Error(w, "this host name is not one of the page: name it with --page-host",
				http.StatusMisdirectedRequest) // RFC 9110, 15.5.20
			return
		}
		if err := cross.Check(r); err != nil {
			http.Error(w, "the request comes from another site, and was not carried out",
				http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a Host is one of the page: localhost, a loopback address, the address that it listens
// on, or a name that was given.
func (p *Page) knows(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	own, _, _ := net.SplitHostPort(p.o.Addr)
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback() || name == strings.ToLower(own) ||
		slices.ContainsFunc(p.o.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}
