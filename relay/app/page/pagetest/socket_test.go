package pagetest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
)

// onSocket is an HTTP client of the control socket.
func (w *world) onSocket() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.socket)
		},
	}}
}

// TestControlSocket: whoever can open the control socket needs no token, as through a tunnel; other sites in
// the same browser still reach nothing.
func TestControlSocket(t *testing.T) {
	w := newWorld(t, "")
	w.send("orders@shop.example", "Your order", "full@example.net")
	id := w.deferred("full@example.net")
	c := w.onSocket()
	for _, tt := range []struct {
		method, url, origin string
		want                int
	}{
		{"GET", "http://localhost:8026/page/", "", 200},
		{"GET", "http://127.0.0.1:8026/page/message/" + id, "", 200},
		{"GET", "http://evil.example:8026/page/", "", 421},
		{"POST", "http://localhost:8026/page/upstreams/probe", "http://localhost:8026", 200},
		{"POST", "http://localhost:8026/page/queue/act", "http://localhost:3000", 403},
		{"GET", "http://localhost:8026/v1/health", "", 200},
		{"GET", "http://evil.example:8026/v1/queue", "", 421},
		{"GET", "http://localhost:8026/page", "", 200}, // which leads to /page/
		{"GET", "http://localhost:8026/page//queue", "", 200},
		{"GET", "http://localhost:8026/pagequeue", "", 404},
		{"POST", "http://localhost:8026/v1/queue/drop", "http://localhost:3000", 403},
	} {
		r, err := http.NewRequest(tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := w.do(c, r); got.status != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.url, got.status, tt.want)
		}
	}
	body := w.get(w.login(w.admin), "/").body
	r, _ := http.NewRequest("GET", "http://localhost:8026/page/", nil)
	got := w.do(c, r).body
	if !strings.Contains(got, `href="/page/queue"`) || strings.Contains(got, "/logout") ||
		!strings.Contains(body, "/logout") {
		t.Error("the links of the page do not stay below /page, or there is a session to end")
	}
}

// TestStream: a browser that comes back and has missed something hears so at once; one that has not does not.
func TestStream(t *testing.T) {
	w := newWorld(t, "")
	w.send("orders@shop.example", "Your order", "full@example.net")
	w.deferred("full@example.net")
	c := w.login(w.admin)
	w.remembered(c, "/", "mailbox full")
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", "0")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var heard []string
	for lines := bufio.NewScanner(resp.Body); len(heard) < 4 && lines.Scan(); {
		if lines.Text() != "" {
			heard = append(heard, lines.Text())
		}
	}
	if len(heard) != 4 || heard[0] != "retry: 3000" || !strings.HasPrefix(heard[1], "id: ") ||
		heard[1] == "id: 0" || heard[2] != "event: changed" ||
		resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v, %q", resp.Header, heard)
	}
}
