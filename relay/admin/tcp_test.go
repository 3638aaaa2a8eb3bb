package admin

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin/access"
)

// overTCP serves until the test ends, everybody's token being good for everything, and returns where.
func overTCP(t *testing.T, o Options, read time.Duration) string {
	t.Helper()
	o.Log, o.Events, o.Control = slog.New(slog.DiscardHandler), newStream(), &control{}
	o.Authorize = func(string) (access.Identity, bool) { return access.Operator(), true }
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.read = read
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeTCP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeTCP: %v", err)
		}
	})
	return l.Addr().String()
}

// TestSlowBody: a client that does not send its body holds on to nothing for longer than a request may take.
func TestSlowBody(t *testing.T) {
	addr := overTCP(t, Options{}, 50*time.Millisecond)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST /v1/diagnose HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"+
		"Content-Length: 1000\r\n\r\n{")
	if _, err := io.Copy(io.Discard, c); err != nil { // returns when the server has closed it
		t.Logf("the connection ended with: %v", err)
	}
}

// TestStreamOutlivesTheReadTime: the time for a request does not end a stream of events.
func TestStreamOutlivesTheReadTime(t *testing.T) {
	addr := overTCP(t, Options{}, 50*time.Millisecond)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	if line, err := in.ReadString('\n'); err != nil || line != "retry: 3000\n" {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, in); ended <- err }()
	select {
	case err := <-ended:
		t.Errorf("the stream ended: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
}

// TestRevokedStream: a stream of events ends when its token is revoked.
func TestRevokedStream(t *testing.T) {
	var revoked atomic.Bool
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Events: newStream(), Control: &control{},
		Authorize: func(string) (access.Identity, bool) { return access.Operator(), !revoked.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	s.comment = 10 * time.Millisecond
	server := httptest.NewServer(s.tcp)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for in.Scan() && in.Text() != ": still here" { // while the token is good
	}
	revoked.Store(true)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // returns when the server has ended it
		t.Error(err)
	}
}

// TestMalformedAddress: an address that is none is a mistake of the client.
func TestMalformedAddress(t *testing.T) {
	addr := overTCP(t, Options{Suppressions: struct{ relay.SuppressionList }{}}, time.Minute)
	r, err := http.NewRequest(http.MethodDelete, "http://"+addr+"/v1/suppressions/jane", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%s, want 400", resp.Status)
	}
}

// TestOtherPaths: what is not in the table is not there, and the page is not over TCP.
func TestOtherPaths(t *testing.T) {
	addr := overTCP(t, Options{Operated: http.NotFoundHandler()}, time.Minute)
	for path, want := range map[string]int{"/": 404, "/page/": 404, "/v1/nothing": 404,
		"/v1/queue/drop": 405} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != want || kind != "application/json" {
			t.Errorf("GET %s: %d as %s, want %d", path, resp.StatusCode, kind, want)
		}
	}
}
