// Package oauthtest is a token endpoint that does as it is told, for tests.
//
// Left alone it is a strict authorization server of RFC 6749 with the grants that mail providers offer:
// client credentials (with a secret or a signed assertion, RFC 7523), refresh tokens that may rotate,
// authorization codes with PKCE (RFC 7636), device codes (RFC 8628) and service accounts. It refuses as
// Microsoft does, with error_codes. A Script may answer in its place: late, broken, throttled, elsewhere.
//
// It is an http.Handler, and an http.RoundTripper that calls itself without a network, for tests in the fake
// time of testing/synctest.
package oauthtest

import (
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"
)

// Options say how a Server behaves.
type Options struct {
	ClientID string
	Secret   string         // of a confidential client; "" with no Key: a public client
	Key      *rsa.PublicKey // verifies assertions
	Life     time.Duration  // of access tokens; an hour when zero
	Rotate   bool           // each refresh gives a new refresh token
	Once     bool           // a refresh token that was used is dead
	Pending  int            // polls of a device code before the person has entered it
	Interval int            // seconds between two polls; 5 when zero
	Skew     time.Duration  // of the Date header
	Script   func(Request) *Answer
	Marked   string // begins each secret that the server makes; "marked" when empty
}

// Request is what a client asked.
type Request struct {
	N    int // from 1
	Path string
	Form url.Values
}

// Answer is what the Script wants said in place of the server's own answer.
type Answer struct {
	Delay    time.Duration // before anything else
	Continue bool          // after the delay, the server's own answer
	Status   int
	Header   map[string]string
	Body     string
	Close    bool // close the connection without an answer
}

// Refusal is an answer as Microsoft refuses.
func Refusal(code string, number int, text string) *Answer {
	return &Answer{Status: http.StatusBadRequest, Body: refusal(code, number, text)}
}

// Google is an answer as Google refuses.
func Google(code, text string) *Answer {
	return &Answer{Status: http.StatusBadRequest,
		Body: fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, text)}
}

// Correlation is the correlation id of each refusal.
const Correlation = "c0ffee00-1111-2222-3333-444455556666"

func refusal(code string, number int, text string) string {
	full := fmt.Sprintf("AADSTS%d: %s Trace ID: 0 Correlation ID: %s Timestamp: 2026-11-28 10:00:00Z", number,
		text, Correlation)
	return fmt.Sprintf(`{"error":%q,"error_description":%q,"error_codes":[%d],"correlation_id":%q}`,
		code, full, number, Correlation)
}

// Server is a token endpoint. Its methods are safe for concurrent use.
type Server struct {
	opt  Options
	http *httptest.Server // nil without a network

	mu       sync.Mutex
	requests []Request
	access   map[string]bool // living access tokens
	refresh  map[string]bool // living refresh tokens
	codes    map[string]url.Values
	jtis     map[string]bool
	made     int
	polls    int
}

// New makes a Server without a network: use it as http.RoundTripper.
func New(o Options) *Server {
	if o.Life == 0 {
		o.Life = time.Hour
	}
	if o.Marked == "" {
		o.Marked = "marked"
	}
	return &Server{opt: o, access: map[string]bool{}, refresh: map[string]bool{},
		codes: map[string]url.Values{}, jtis: map[string]bool{}}
}

// TB is the part of testing.TB that is needed.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start makes a Server that listens until the test ends.
func Start(tb TB, o Options) *Server {
	tb.Helper()
	s := New(o)
	s.http = httptest.NewServer(s)
	tb.Cleanup(s.http.Close)
	return s
}

// URL is the address of a path of the server: /token, /device or /authorize.
func (s *Server) URL(path string) string {
	if s.http == nil {
		return "https://login.test" + path
	}
	return s.http.URL + path
}

// Requests are those that came, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Valid reports whether an access token is alive.
func (s *Server) Valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access[token]
}

// RevokeAccess ends all access tokens.
func (s *Server) RevokeAccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access)
}

// RevokeRefresh ends all refresh tokens.
func (s *Server) RevokeRefresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.refresh)
}

// Refresh makes a refresh token.
func (s *Server) Refresh() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newRefresh()
}

// AddRefresh makes the given refresh token a living one.
func (s *Server) AddRefresh(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[token] = true
}

func (s *Server) newRefresh() string {
	token := s.secret("refresh")
	s.refresh[token] = true
	return token
}

// secret makes a secret. The caller holds the mutex.
func (s *Server) secret(kind string) string {
	s.made++
	return fmt.Sprintf("%s-%s-%d", s.opt.Marked, kind, s.made)
}
