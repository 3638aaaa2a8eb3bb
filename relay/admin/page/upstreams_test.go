package page

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// paused is a page of a relay whose upstreams a and b are paused, and c is not. It answers as on the control
// socket; probed hears of what is tried.
func paused(t *testing.T, probed func(name string)) http.Handler {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	health := admin.Health{OK: true, Lanes: []relay.LaneState{{Name: "a", Paused: true},
		{Name: "b", Paused: true}, {Name: "c"}}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(health)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	p, err := New(Options{Relay: admin.NewClient(socket), Probe: probed, Now: time.Now,
		Upstreams: func() []Upstream { return nil }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return p.Operated("/page")
}

// TestProbe: the button of an upstream tries that one, and the button above all of them; one that is not
// there is not tried.
func TestProbe(t *testing.T) {
	var tried []string
	h := paused(t, func(name string) { tried = append(tried, name) })
	ask := func(method, path, form string) (int, string) {
		r := httptest.NewRequest(method, "http://localhost/page"+path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	_, body := ask(http.MethodGet, "/upstreams", "")
	for name, want := range map[string]bool{"a": true, "b": true, "c": false} {
		if got := strings.Contains(body, `href="/page/upstreams/probe?name=`+name+`"`); got != want {
			t.Errorf("the button of %s: %v, want %v", name, got, want)
		}
	}
	_, body = ask(http.MethodGet, "/upstreams/probe?name=b", "")
	if !strings.Contains(body, "Upstream b is tried at once") ||
		!strings.Contains(body, "1 upstream is paused") || !strings.Contains(body, `name="name" value="b"`) {
		t.Errorf("the confirmation: %s", body)
	}
	for _, name := range []string{"b", ""} {
		form := url.Values{"name": {name}}.Encode()
		if status, body := ask(http.MethodPost, "/upstreams/probe", form); status != http.StatusSeeOther {
			t.Errorf("%q: %d %s", name, status, body)
		}
	}
	if status, _ := ask(http.MethodPost, "/upstreams/probe", "name=nobody"); status != http.StatusNotFound {
		t.Errorf("one that is not there: %d", status)
	}
	if want := []string{"b", ""}; !slices.Equal(tried, want) {
		t.Errorf("tried %q, want %q", tried, want)
	}
}
