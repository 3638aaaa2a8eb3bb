package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
)

// raw sends bytes to the API and returns the status of the answer; 0 if the connection was closed.
func (s *apiScene) raw(text string) int {
	s.t.Helper()
	c, err := net.Dial("tcp", s.app.APIAddr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestAPIAttacks: what strangers, pages of other sites and small tokens try is refused, over real HTTP, and
// the queue is as it was.
func TestAPIAttacks(t *testing.T) {
	s := newAPIScene(t)
	s.submit("a@slow.test")
	tokens := map[string]string{"write": s.token, "wrong": "mailwhy_" + strings.Repeat("A", 43)}
	for _, scope := range []access.Scope{access.Diagnose, access.Events, access.Read} {
		tokens[string(scope)] = s.newToken(string(scope), scope)
	}
	expired, err := access.Create(s.load().Admin.TokensFile, "old", []access.Scope{access.Write}, time.Now(),
		time.Now().Add(-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	tokens["expired"] = expired
	const post = "POST /v1/queue/drop HTTP/1.1\r\n"
	drop := func(header, body string) string { return post + "Host: localhost\r\n" + header + body }
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	all := body(`{"all": true}`)
	for _, tt := range []struct {
		name, request, token string
		status               int
	}{
		{"no token", drop("", all), "", 401},
		{"a wrong token", drop("", all), "wrong", 401},
		{"an expired token", drop("", all), "expired", 401},
		{"a token that may read", drop("", all), "read", 403},
		{"a token that may diagnose", get("/v1/queue"), "diagnose", 403},
		{"a token that may follow events", get("/v1/messages/x"), "events", 403},
		{"events with a token that may diagnose", get("/v1/events"), "diagnose", 403},
		{"the token in the URL", get("/v1/queue?token=" + s.token), "", 401},
		{"metrics without a token", get("/metrics"), "", 401},

		{"an encoded path", get("/v1/%71ueue"), "", 401},
		{"an encoded version", get("/%761/queue"), "", 401},
		{"an encoded action", "POST /v1/queue/%64rop HTTP/1.1\r\nHost: localhost\r\n" + all, "read", 403},
		{"an encoded slash", get("/v1%2fqueue"), "write", 404},
		{"two slashes", get("//v1//queue"), "", 307},
		{"a path with dots", get("/livez/../v1/queue"), "", 307},
		{"a path in capitals", get("/V1/queue"), "write", 404},
		{"an absolute URL of another host", get("http://evil.example/v1/queue"), "write", 421},

		{"DNS rebinding", post + "Host: evil.example\r\n" + all, "write", 421},
		{"DNS rebinding of what needs no token",
			"GET /v1/openapi.json HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", "", 421},
		{"no host", post + "Host:\r\n" + all, "write", 421},
		{"a page of another site", drop("Sec-Fetch-Site: cross-site\r\n", all), "write", 403},
		{"a page of another port", drop("Sec-Fetch-Site: same-site\r\n", all), "write", 403},
		{"an old browser", drop("Origin: http://evil.example\r\n", all), "write", 403},
		{"a frame without an origin", drop("Origin: null\r\n", all), "write", 403},
		{"a page that asks before", "OPTIONS /v1/queue/drop HTTP/1.1\r\nHost: localhost\r\n" +
			"Origin: http://evil.example\r\n\r\n", "", 405},

		{"a change by GET", get("/v1/queue/drop"), "write", 405},
		{"a method in a header", "GET /v1/queue/drop HTTP/1.1\r\nHost: localhost\r\n" +
			"X-HTTP-Method-Override: POST\r\n\r\n", "write", 405},
		{"a misspelt filter", drop("", body(`{"all": true, "recipent": "a"}`)), "write", 400},
		{"a filter in the query", "POST /v1/queue/drop?recipient=x HTTP/1.1\r\nHost: localhost\r\n" + all,
			"write", 400},
		{"nothing selected", drop("", body(`{}`)), "write", 400},
		{"two values", drop("", body(`{"all": false}{"all": true}`)), "write", 400},
		{"a body that is too large", drop("", body(`{"ids": ["`+strings.Repeat("x", 5<<20)+`"]}`)),
			"write", 413},
		{"a large header", drop("X-A: "+strings.Repeat("x", 1<<20)+"\r\n", "\r\n"), "write", 431},
		{"two lengths", drop("Content-Length: 5\r\nContent-Length: 9\r\n", "\r\n{}"), "write", 400},
		{"an id that leads elsewhere", get("/v1/messages/..%2f..%2ftokens.json"), "write", 400},
	} {
		request := tt.request
		if token := tokens[tt.token]; token != "" {
			head, rest, _ := strings.Cut(request, "\r\n")
			request = head + "\r\nAuthorization: Bearer " + token + "\r\n" + rest
		}
		if status := s.raw(request); status != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, status, tt.status)
		}
	}
	var page struct{ Messages []any }
	s.ok("GET /v1/openapi.json", "/v1/openapi.json", "", nil)
	s.ok("GET /v1/queue", "/v1/queue", "", &page)
	if len(page.Messages) != 1 {
		t.Errorf("the queue has %d messages after it all", len(page.Messages))
	}
	if log := s.logged.String(); strings.Contains(log, s.token) || strings.Contains(log, tokens["read"]) {
		t.Error("a token is in the log")
	}
}

// body is the end of a request, with a body.
func body(text string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text) }

// TestAPIChallenges: an answer says how to authenticate, or which scope is missing. RFC 6750, 3.
func TestAPIChallenges(t *testing.T) {
	s := newAPIScene(t)
	small := s.newToken("small", access.Diagnose)
	for token, want := range map[string]string{
		"":      `Bearer realm="mailwhy"`,
		"bad":   `Bearer realm="mailwhy", error="invalid_token"`,
		small:   `Bearer realm="mailwhy", error="insufficient_scope", scope="read"`,
		s.token: "",
	} {
		r := s.request(http.MethodGet, "/v1/health", "")
		r.Header.Del("Authorization")
		if token != "" {
			r.Header.Set("Authorization", "bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("WWW-Authenticate"); got != want {
			t.Errorf("with %q: %s %q, want %q", token, resp.Status, got, want)
		}
	}
	path := s.load().Admin.TokensFile
	if err := access.Revoke(path, "small"); err != nil {
		t.Fatal(err)
	}
	r := s.request(http.MethodPost, "/v1/diagnose", `{"reply": "550 no"}`)
	r.Header.Set("Authorization", "Bearer "+small)
	if status, b := s.do(r); status != http.StatusUnauthorized {
		t.Errorf("with a revoked token: %d %s", status, b)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, b := s.do(s.request(http.MethodGet, "/v1/health", "")); status != http.StatusUnauthorized {
		t.Errorf("with a tokens file that cannot be read: %d %s", status, b)
	}
	h, err := admin.NewClient(s.load().Admin.Socket).Health(t.Context())
	if err != nil || !strings.Contains(fmt.Sprint(h.Notes), "no token is accepted: tokens file ") {
		t.Errorf("health %+v, %v", h, err)
	}
}

// TestAPIStops: a stream does not hold up the end of the relay, and ends whole.
func TestAPIStops(t *testing.T) {
	s := newAPIScene(t)
	lines, end := s.follow("/v1/events", "")
	defer end()
	s.stop()
	if _, err := io.Copy(io.Discard, lines); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the stream broke off: %v", err)
	}
}
