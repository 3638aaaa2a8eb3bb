package guard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mailwhy/relay/admin/guard"
)

// TestGuard asks with the headers of browsers and programs.
func TestGuard(t *testing.T) {
	g, err := guard.New(guard.Options{
		Hosts: []string{"relay.example.com"}, Origins: []string{"https://ops.example.com"},
		Refuse: func(w http.ResponseWriter, status int, reason, hint string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "%s; %s", reason, hint)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "through") }))
	for _, tt := range []struct {
		name, host string
		header     map[string]string
		status     int
	}{
		{"a program", "127.0.0.1:8025", nil, 200},
		{"a program by IPv6", "[::1]:8025", nil, 200},
		{"another address, as of a pod", "10.1.2.3", nil, 200},
		{"localhost", "localhost:8025", nil, 200},
		{"our name", "relay.example.com", nil, 200},
		{"our name in capitals, with a dot", "RELAY.example.com.:443", nil, 200},
		{"the page itself", "127.0.0.1:8025", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		{"an old browser", "127.0.0.1:8025", map[string]string{"Origin": "http://127.0.0.1:8025"}, 200},
		{"a trusted page", "127.0.0.1:8025", map[string]string{"Sec-Fetch-Site": "cross-site",
			"Origin": "https://ops.example.com"}, 200},

		{"DNS rebinding", "evil.example:8025", nil, 421},
		{"DNS rebinding, same origin", "evil.example:8025", map[string]string{
			"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example:8025"}, 421},
		{"a name that begins like ours", "relay.example.com.evil.example", nil, 421},
		{"a name that ends like ours", "xlocalhost", nil, 421},
		{"no name", "", nil, 421},
		{"an odd name", "127.0.0.1.evil.example", nil, 421},
		{"a page of another site", "127.0.0.1:8025", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"another port of this machine", "localhost:8025", map[string]string{"Sec-Fetch-Site": "same-site"},
			403},
		{"an old browser, another site", "127.0.0.1:8025", map[string]string{"Origin": "http://evil.example"},
			403},
		{"a sandboxed frame", "127.0.0.1:8025", map[string]string{"Origin": "null"}, 403},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/queue/drop", strings.NewReader("{}"))
		r.Host = tt.host
		for name, value := range tt.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || (w.Body.String() == "through") != (tt.status == 200) {
			t.Errorf("%s: %d %s; want %d", tt.name, w.Code, w.Body, tt.status)
		}
		if h := w.Header(); h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: header %v", tt.name, h)
		}
	}
}

// TestPages: of IP addresses only the loopback's, and those listed, are a page's own; each answer has the
// policy, a refusal too.
func TestPages(t *testing.T) {
	const policy = "default-src 'self'"
	g, err := guard.New(guard.Options{Hosts: []string{"relay.example.com", "192.0.2.7"}, Loopback: true,
		HostsIn: "page.hosts", Policy: policy, Refuse: guard.Text})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	for _, tt := range []struct {
		host   string
		origin string
		status int
		says   string
	}{
		{"localhost:8025", "", 200, ""}, {"127.0.0.1:8025", "", 200, ""}, {"[::1]:8025", "", 200, ""},
		{"Relay.Example.com", "", 200, ""}, {"192.0.2.7:8025", "", 200, ""},
		{"localhost:8025", "http://localhost:8025", 200, ""},
		{"evil.example:8025", "", 421,
			"not called evil.example:8025\ncall it localhost, or list the name in page.hosts"},
		{"relay.example.com.evil.example", "", 421, "page.hosts"}, {"10.1.2.3", "", 421, "page.hosts"},
		{"", "", 421, "page.hosts"}, {"evil.example", "http://evil.example", 421, "page.hosts"},
		{"localhost:8025", "http://localhost:3000", 403, "comes from another site"},
		{"localhost:8025", "null", 403, "comes from another site"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s of %s: %d %s", tt.host, tt.origin, w.Code, w.Body)
		}
		for name, want := range map[string]string{"Content-Security-Policy": policy,
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", tt.host, name, got)
			}
		}
	}
}

func TestBadOrigin(t *testing.T) {
	if _, err := guard.New(guard.Options{Origins: []string{"ops.example.com/x"}}); err == nil {
		t.Error("an origin without a scheme is taken")
	}
}
