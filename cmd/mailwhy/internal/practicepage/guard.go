package practicepage

import (
	"net"
	"net/http"

	"mailwhy/relay/admin/guard"
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

// guard lets through to next only requests to the page's own names, and those that change something only from
// its own pages. Their bodies are bounded.
func (p *Page) guard(next http.Handler) (http.Handler, error) {
	own, _, _ := net.SplitHostPort(p.o.Addr)
	g, err := guard.New(guard.Options{Hosts: append([]string{own}, p.o.Hosts...), HostsIn: "--page-host",
		Loopback: true, Policy: pagePolicy, Refuse: guard.Text})
	if err != nil {
		return nil, err
	}
	return g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})), nil
}
