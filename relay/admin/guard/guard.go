// Package guard protects an HTTP server that browsers can reach: the API, at admin.listen, and the control
// socket, to which they get through a tunnel.
//
// A page of a stranger that is open in the operator's browser must not use the relay through it. It can try
// in two ways. It can send requests across sites: http.CrossOriginProtection refuses those that change
// something. Or its name can be made to point at the relay's address after it was loaded (DNS rebinding), so
// that the browser takes the relay for its own site: then the Host header has its name, and a request with a
// name that is not ours is refused before anything looks at it.
//
// What always holds: the check is on the request, not on the text of its URL; an answer is never cached, and
// never in a frame.
package guard

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Options are what a guard is made of.
type Options struct {
	Hosts   []string // the names under which the server is reached, without a port
	Origins []string // whose pages may send requests that change something: "https://ops.example.com"
	// Refuse answers a request that is refused, with a reason and what helps.
	Refuse func(w http.ResponseWriter, status int, reason, hint string)
}

// New returns a handler that lets through to next what is no attack. An error names the origin that is
// wrong.
func New(o Options, next http.Handler) (http.Handler, error) {
	cross := http.NewCrossOriginProtection()
	for _, origin := range o.Origins {
		if err := cross.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o.Refuse(w, http.StatusForbidden, "the request comes from a page of another site",
			"if a proxy changes Host, list the site in admin.origins")
	}))
	inner := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Frame-Options", "DENY")
		if !o.ours(r.Host) {
			o.Refuse(w, http.StatusMisdirectedRequest, "the relay is not called "+clip(r.Host),
				"call it localhost or by an IP address, or list the name in admin.hosts if it is")
			return
		}
		inner.ServeHTTP(w, r)
	}), nil
}

// ours reports whether a Host header names this server: as localhost, as a name of the operator's, or as an
// IP address, which no stranger's page can have for its own site.
func (o *Options) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	same := func(name string) bool { return strings.EqualFold(name, host) }
	return same("localhost") || host != "" && slices.ContainsFunc(o.Hosts, same)
}

// clip bounds what a client wrote before it is shown to it.
func clip(s string) string { return s[:min(len(s), 100)] }
