// Package guard protects an HTTP server that browsers can reach: the API, at admin.listen, the control
// socket, to which they get through a tunnel, the web page, and that of `mailwhy practice`.
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

// Options are what a Guard is made of. Refuse is required.
type Options struct {
	Hosts    []string // names and addresses under which the server is reached, without a port
	HostsIn  string   // where more of them can be listed, for who is refused: "admin.hosts"
	Loopback bool     // of IP addresses only those of the loopback, and those listed, are ours
	Origins  []string // whose pages may send requests that change something: "https://ops.example.com"
	// OriginsIn is where more of them can be listed, for who is refused; empty: nowhere.
	OriginsIn string
	Policy    string // Content-Security-Policy of every answer; empty: these are no pages
	// Refuse answers a request that is refused, with a reason and what helps, which may be empty.
	Refuse func(w http.ResponseWriter, status int, reason, hint string)
}

// Guard is made by New.
type Guard struct {
	o     Options
	cross *http.CrossOriginProtection
}

// New makes a Guard. An error names the origin that is wrong.
func New(o Options) (*Guard, error) {
	g := &Guard{o: o, cross: http.NewCrossOriginProtection()}
	for _, origin := range o.Origins {
		if err := g.cross.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Wrap returns a handler that lets through to next what is no attack.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mark(w.Header())
		if !g.ours(r.Host) {
			g.o.Refuse(w, http.StatusMisdirectedRequest, // RFC 9110, 15.5.20
				"the relay is not called "+clip(r.Host), g.hostHint())
			return
		}
		if g.cross.Check(r) != nil {
			g.o.Refuse(w, http.StatusForbidden,
				"the request comes from another site, and was not carried out", g.originHint())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mark forbids what browsers would else do with an answer.
func (g *Guard) mark(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if g.o.Policy == "" {
		h.Set("X-Frame-Options", "DENY")
		return
	}
	h.Set("Content-Security-Policy", g.o.Policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// ours reports whether a Host header names this server, at any port: as localhost, as a name of the
// operator's, or as an IP address, which no stranger's page can have for its own site.
func (g *Guard) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if ip, err := netip.ParseAddr(host); err == nil && (!g.o.Loopback || ip.Unmap().IsLoopback()) {
		return true
	}
	same := func(name string) bool { return strings.EqualFold(name, host) }
	return same("localhost") || host != "" && slices.ContainsFunc(g.o.Hosts, same)
}

func (g *Guard) hostHint() string {
	hint := "call it localhost"
	if !g.o.Loopback {
		hint += " or by an IP address"
	}
	if g.o.HostsIn != "" {
		hint += ", or list the name in " + g.o.HostsIn + " if it is"
	}
	return hint
}

func (g *Guard) originHint() string {
	if g.o.OriginsIn == "" {
		return ""
	}
	return "if a proxy changes Host, list the site in " + g.o.OriginsIn
}

// Text is a Refuse for people: the reason and what helps, as a line each.
func Text(w http.ResponseWriter, status int, reason, hint string) {
	http.Error(w, strings.TrimSpace(reason+"\n"+hint), status)
}

// clip bounds what a client wrote before it is shown to it.
func clip(s string) string { return s[:min(len(s), 100)] }
