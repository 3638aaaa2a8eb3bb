package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/record/metrics/metricstest"
)

// serve serves m on l until the test ends.
func serve(t *testing.T, m *Metrics, l net.Listener) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.Serve(ctx, l, slog.New(slog.DiscardHandler), func(*http.ServeMux) {}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
}

// TestServe: a scraper gets the page, and nothing but the page.
func TestServe(t *testing.T) {
	m := fresh("shop")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, m, l)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, ask := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/metrics", 200}, {"GET", "/metrics", 200}, {"HEAD", "/metrics", 200},
		{"POST", "/metrics", 405},
		{"GET", "/", 404}, {"GET", "/health", 404}, {"GET", "/queue", 404}, {"GET", "/debug/pprof/", 404},
	} {
		req, _ := http.NewRequest(ask.method, "http://"+l.Addr().String()+ask.path, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != ask.status {
			t.Errorf("%s %s: %s", ask.method, ask.path, res.Status)
		}
		if ask.method != "GET" || ask.status != 200 {
			continue
		}
		if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
			t.Errorf("content type %q", got)
		}
		if _, err := metricstest.Parse(string(body)); err != nil {
			t.Error(err)
		}
	}
}

// TestStuckScrapers: scrapers that ask and never read hold up neither the relay nor the scraper beside them.
func TestStuckScrapers(t *testing.T) {
	var long []string
	for i := range maxNames {
		long = append(long, fmt.Sprint(strings.Repeat("x", 500), i)) // more than a socket takes unread
	}
	m := fresh(long...)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, m, l)
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n")
		return c
	}
	for range maxScrapers - 1 {
		c := dial()
		if _, err := c.Read(make([]byte, 1)); err != nil { // its page is being written
			t.Fatal(err)
		}
	}
	for range 10000 {
		m.Record(relay.Event{Kind: relay.EventAccepted, First: true, Client: long[0]})
	}
	answer, err := io.ReadAll(dial())
	_, body, found := strings.Cut(string(answer), "\r\n\r\n")
	if err != nil || !found {
		t.Fatalf("%v %.80q", err, answer)
	}
	p, err := metricstest.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	p.Expect(t, map[string]float64{fmt.Sprintf("mailwhy_messages_accepted_total{client=%q}", long[0]): 10000})
}
