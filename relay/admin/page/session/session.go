// Package session keeps the sessions of the web page, on the server: the browser has only a random key.
//
// What always holds: a key is made here and never taken from a browser, so that none can be planted; only the
// SHA-256 of it is kept; a session ends after Idle without a request, after Max in any case, when it is
// ended, and when the process ends. There are at most most of them: one more ends the one unused for longest.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// most is how many sessions there may be.
const most = 1000

// Options are what Sessions are made of. All are required.
type Options struct {
	Idle time.Duration // without a request
	Max  time.Duration // since the login
	Now  func() time.Time
}

// Sessions are the sessions of one page, each with a value of type V. Its methods are safe for concurrent
// use.
type Sessions[V any] struct {
	o  Options
	mu sync.Mutex
	by map[[sha256.Size]byte]*session[V]
}

// session is one of them.
type session[V any] struct {
	value       V
	begun, used time.Time
}

// New makes Sessions.
func New[V any](o Options) *Sessions[V] {
	return &Sessions[V]{o: o, by: map[[sha256.Size]byte]*session[V]{}}
}

// Name is the cookie's name. Over https a browser takes one with the prefix only from the very host, over
// https, for all of its paths (RFC 6265bis, 4.1.3.2).
func Name(https bool) string {
	if https {
		return "__Host-mailwhy"
	}
	return "mailwhy"
}

// Begin begins a session and gives the browser its key. The session that the request was in, if any, ends.
func (s *Sessions[V]) Begin(w http.ResponseWriter, r *http.Request, https bool, value V) {
	s.end(r, https)
	key := make([]byte, 32)
	rand.Read(key)
	text := base64.RawURLEncoding.EncodeToString(key)
	now := s.o.Now()
	s.mu.Lock()
	s.tidy(now)
	s.by[sha256.Sum256([]byte(text))] = &session[V]{value: value, begun: now, used: now}
	s.mu.Unlock()
	http.SetCookie(w, s.cookie(text, https, int(s.o.Max/time.Second)))
}

// End ends the session of a request, and takes the cookie from the browser.
func (s *Sessions[V]) End(w http.ResponseWriter, r *http.Request, https bool) {
	s.end(r, https)
	http.SetCookie(w, s.cookie("", https, -1))
}

func (s *Sessions[V]) end(r *http.Request, https bool) {
	if c, err := r.Cookie(Name(https)); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.by, sha256.Sum256([]byte(c.Value)))
	}
}

// cookie is one for the whole host, which no script can read and no other site can send.
func (s *Sessions[V]) cookie(value string, https bool, age int) *http.Cookie {
	return &http.Cookie{Name: Name(https), Value: value, Path: "/", MaxAge: age, HttpOnly: true,
		Secure: https, SameSite: http.SameSiteStrictMode}
}

// Find is the value of the session that a request is in. alive says whether the session may go on; one that
// may not is ended.
func (s *Sessions[V]) Find(r *http.Request, https bool, alive func(V) bool) (value V, ok bool) {
	c, err := r.Cookie(Name(https))
	if err != nil {
		return value, false
	}
	key, now := sha256.Sum256([]byte(c.Value)), s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.by[key]
	if found == nil {
		return value, false
	}
	if s.over(found, now) || !alive(found.value) {
		delete(s.by, key)
		return value, false
	}
	found.used = now
	return found.value, true
}

// over reports whether a session has ended by itself.
func (s *Sessions[V]) over(x *session[V], now time.Time) bool {
	return now.Sub(x.used) >= s.o.Idle || now.Sub(x.begun) >= s.o.Max
}

// tidy removes what has ended, and makes room for one more. s.mu is held.
func (s *Sessions[V]) tidy(now time.Time) {
	var oldest [sha256.Size]byte
	last := now
	for key, x := range s.by {
		if s.over(x, now) {
			delete(s.by, key)
		} else if !x.used.After(last) {
			oldest, last = key, x.used
		}
	}
	if len(s.by) >= most {
		delete(s.by, oldest)
	}
}
