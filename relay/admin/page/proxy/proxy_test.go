package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestRequests: what a request says of its user and of TLS is believed only of a proxy's.
func TestRequests(t *testing.T) {
	p := Proxies{AuthHeader: "Remote-User", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	var user string
	var https bool
	h := p.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, https = p.User(r), HTTPS(r)
	}))
	for _, tt := range []struct {
		name, peer string
		header     http.Header
		user       string
		https      bool
	}{
		{name: "nobody", peer: "127.0.0.1:4444"},
		{name: "a user of the proxy", peer: "10.1.2.3:4444", user: "jane", https: true,
			header: http.Header{"Remote-User": {"jane"}, "X-Forwarded-Proto": {"https"}}},
		{name: "a user of a proxy by IPv6", peer: "[::ffff:10.1.2.3]:4444", user: "jane",
			header: http.Header{"Remote-User": {"jane"}}},
		{name: "two proxies", peer: "10.1.2.3:4444", https: true,
			header: http.Header{"X-Forwarded-Proto": {"https, http"}}},
		{name: "two proxies, http outside", peer: "10.1.2.3:4444",
			header: http.Header{"X-Forwarded-Proto": {"http,https"}}},
		{name: "a forged user", peer: "192.0.2.99:4444",
			header: http.Header{"Remote-User": {"admin"}, "X-Forwarded-Proto": {"https"}}},
		{name: "two users", peer: "10.1.2.3:4444",
			header: http.Header{"Remote-User": {"jane", "admin"}}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		for k, v := range tt.header {
			r.Header[k] = v
		}
		user, https = "", false
		h.ServeHTTP(httptest.NewRecorder(), r)
		if user != tt.user || https != tt.https {
			t.Errorf("%s: user %q, https %v; want %q, %v", tt.name, user, https, tt.user, tt.https)
		}
	}
}
