package guard

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestRequests: which requests pass, by their Host, origin and peer.
func TestRequests(t *testing.T) {
	g := New(Options{Hosts: []string{"relay.example.com", "192.0.2.7"}, AuthHeader: "Remote-User",
		Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	var user string
	var https bool
	h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, https = g.User(r), HTTPS(r)
	}))
	for _, tt := range []struct {
		name, method, host, peer string
		header                   http.Header
		status                   int
		user                     string
		https                    bool
	}{
		{name: "localhost", host: "localhost:8025", status: 200},
		{name: "loopback", host: "127.0.0.1:8025", status: 200},
		{name: "loopback of IPv6", host: "[::1]:8025", status: 200},
		{name: "a name of ours", host: "Relay.Example.com", status: 200},
		{name: "an address of ours", host: "192.0.2.7:8025", status: 200},
		{name: "rebinding", host: "evil.example:8025", status: 421},
		{name: "rebinding, a name that contains ours", host: "relay.example.com.evil.example", status: 421},
		{name: "rebinding, a POST", method: "POST", host: "evil.example", status: 421,
			header: http.Header{"Origin": {"http://evil.example"}}},
		{name: "no host", host: "", status: 421},
		{name: "a POST of curl", method: "POST", host: "localhost:8025", status: 200},
		{name: "a POST of the page", method: "POST", host: "localhost:8025", status: 200,
			header: http.Header{"Origin": {"http://localhost:8025"}}},
		{name: "a POST of another site", method: "POST", host: "localhost:8025", status: 403,
			header: http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}},
		{name: "a POST of another port", method: "POST", host: "localhost:8025", status: 403,
			header: http.Header{"Origin": {"http://localhost:3000"}, "Sec-Fetch-Site": {"same-site"}}},
		{name: "the same from an old browser", method: "POST", host: "localhost:8025", status: 403,
			header: http.Header{"Origin": {"http://localhost:3000"}}},
		{name: "a POST without an origin", method: "POST", host: "localhost:8025", status: 403,
			header: http.Header{"Origin": {"null"}}},
		{name: "a user of the proxy", host: "relay.example.com", peer: "10.1.2.3:4444", status: 200,
			user: "jane", https: true,
			header: http.Header{"Remote-User": {"jane"}, "X-Forwarded-Proto": {"https"}}},
		{name: "a user of a proxy by IPv6", host: "relay.example.com", peer: "[::ffff:10.1.2.3]:4444",
			status: 200, user: "jane", header: http.Header{"Remote-User": {"jane"}}},
		{name: "a forged user", host: "relay.example.com", peer: "192.0.2.99:4444", status: 200,
			header: http.Header{"Remote-User": {"admin"}, "X-Forwarded-Proto": {"https"}}},
		{name: "two users", host: "relay.example.com", peer: "10.1.2.3:4444", status: 200,
			header: http.Header{"Remote-User": {"jane", "admin"}}},
	} {
		method := tt.method
		if method == "" {
			method = "GET"
		}
		r := httptest.NewRequest(method, "/", nil)
		r.Host = tt.host
		if tt.peer != "" {
			r.RemoteAddr = tt.peer
		}
		for k, v := range tt.header {
			r.Header[k] = v
		}
		user, https = "", false
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || user != tt.user || https != tt.https {
			t.Errorf("%s: %d, user %q, https %v; want %d, %q, %v", tt.name, w.Code, user, https, tt.status,
				tt.user, tt.https)
		}
		for name, want := range map[string]string{"Content-Security-Policy": Policy,
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", tt.name, name, got)
			}
		}
	}
}
