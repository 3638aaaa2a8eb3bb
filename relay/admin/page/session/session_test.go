package session

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// bench is Sessions with a clock.
type bench struct {
	*Sessions[string]
	now time.Time
}

func begin() *bench {
	b := &bench{now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	b.Sessions = New[string](Options{Idle: 30 * time.Minute, Max: 12 * time.Hour,
		Now: func() time.Time { return b.now }})
	return b
}

// login begins a session and returns its cookie.
func (b *bench) login(who string, https bool, with ...*http.Cookie) *http.Cookie {
	w := httptest.NewRecorder()
	b.Begin(w, request(with...), https, who)
	return w.Result().Cookies()[0]
}

func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// who is whose session a cookie is of.
func (b *bench) who(c *http.Cookie, https bool) string {
	who, ok := b.Find(request(c), https, func(string) bool { return true })
	if !ok {
		return "nobody"
	}
	return who
}

func TestCookie(t *testing.T) {
	b := begin()
	c := b.login("jane", false)
	if c.Name != "mailwhy" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode ||
		c.Path != "/" || len(c.Value) != 43 || c.Domain != "" {
		t.Errorf("over http: %+v", c)
	}
	s := b.login("jane", true)
	if s.Name != "__Host-mailwhy" || !s.Secure || !s.HttpOnly || s.Path != "/" || s.Value == c.Value {
		t.Errorf("over https: %+v", s)
	}
}

func TestEnds(t *testing.T) {
	b := begin()
	c := b.login("jane", false)
	for range 20 { // used all the time
		b.now = b.now.Add(29 * time.Minute)
		if got := b.who(c, false); got != "jane" {
			t.Fatalf("after %v: %s", b.now, got)
		}
	}
	b.now = b.now.Add(30 * time.Minute)
	if got := b.who(c, false); got != "nobody" {
		t.Errorf("idle: %s", got)
	}
	c = b.login("jane", false)
	for range 24 {
		b.now = b.now.Add(29*time.Minute + 59*time.Second)
		b.who(c, false)
	}
	b.now = b.now.Add(time.Minute)
	if got := b.who(c, false); got != "nobody" {
		t.Errorf("after twelve hours of use: %s", got)
	}
	c = b.login("jane", false)
	w := httptest.NewRecorder()
	b.End(w, request(c), false)
	if got := b.who(c, false); got != "nobody" || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("after the logout the cookie is good for %s", got)
	}
	c = b.login("jane", false)
	_, ok := b.Find(request(c), false, func(string) bool { return false })
	if ok || b.who(c, false) != "nobody" {
		t.Error("a session that may not go on does")
	}
}

// TestFixation: a key that a stranger planted is never used, and the session that it stood for ends.
func TestFixation(t *testing.T) {
	b := begin()
	planted := &http.Cookie{Name: Name(false), Value: "planted"}
	if got := b.who(planted, false); got != "nobody" {
		t.Errorf("a made-up key: %s", got)
	}
	c := b.login("jane", false, planted)
	if c.Value == planted.Value || b.who(planted, false) != "nobody" {
		t.Error("the planted key is good after the login")
	}
	of := b.login("mallory", false)
	b.login("jane", false, of)
	if got := b.who(of, false); got != "nobody" {
		t.Errorf("the earlier session goes on: %s", got)
	}
}

func TestBounded(t *testing.T) {
	b := begin()
	first := b.login("first", false)
	for i := range most {
		b.now = b.now.Add(time.Millisecond)
		b.login(fmt.Sprint(i), false)
	}
	if len(b.by) != most || b.who(first, false) != "nobody" {
		t.Errorf("%d sessions", len(b.by))
	}
}
