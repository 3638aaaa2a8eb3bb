package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Refresh is the grant of a refresh token in a File (RFC 6749, 6). The file says which endpoint and client
// the token belongs to.
//
// Where the endpoint gives a new refresh token, it is written before the access token is handed out, so a
// crash at any point leaves a token that works. One that could not be written is kept in memory and written
// before the next request; until then no access token is handed out.
type Refresh struct {
	File  File
	Proof Proof             // of a confidential client; nil for a public one
	HTTP  http.RoundTripper // nil: http.DefaultTransport

	mu      sync.Mutex
	unsaved *Stored // could not be written
}

// Check reports what is wrong with the file.
func (r *Refresh) Check() error {
	s, err := r.File.Load()
	if err != nil {
		return err
	}
	e := r.endpoint(&s)
	return e.Check()
}

func (r *Refresh) expiries() (secret, certificate time.Time) { return expiries(r.Proof) }

func (r *Refresh) endpoint(s *Stored) Endpoint {
	return Endpoint{TokenURL: s.TokenURL, ClientID: s.ClientID, Proof: r.Proof, HTTP: r.HTTP}
}

// Fetch implements Source.
func (r *Refresh) Fetch(ctx context.Context) (Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := r.File.Lock(ctx)
	if err != nil {
		return Token{}, own(ctx, err)
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return Token{}, own(ctx, err)
	}
	g, err := r.exchange(ctx, &s)
	if again, changed := r.changed(&s, err); changed {
		s = again
		g, err = r.exchange(ctx, &s)
	}
	if err != nil {
		return Token{}, err
	}
	if !g.Refresh.IsZero() {
		s.Refresh, s.Rotated = g.Refresh, time.Now().UTC().Truncate(time.Second)
		if err := r.save(s); err != nil {
			return Token{}, own(ctx, err)
		}
	}
	return g.Token, nil
}

// own is the fault of an error of this machine.
func own(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unreadable("the refresh token: %v", err)
}

// load reads the file, after it has written what it could not write before.
func (r *Refresh) load() (Stored, error) {
	if r.unsaved != nil {
		if err := r.save(*r.unsaved); err != nil {
			return Stored{}, err
		}
	}
	return r.File.Load()
}

// save writes s, or keeps it for the next time.
func (r *Refresh) save(s Stored) error {
	err := r.File.Save(s)
	r.unsaved = nil
	if err != nil {
		r.unsaved = &s
	}
	return err
}

func (r *Refresh) exchange(ctx context.Context, s *Stored) (grant, error) {
	e := r.endpoint(s)
	if err := e.Check(); err != nil {
		return grant{}, unreadable("%s: %v", r.File.Path, err)
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.Refresh.Reveal()}}
	if s.Scope != "" {
		form.Set("scope", s.Scope)
	}
	g, err := e.request(ctx, form)
	return g, e.explain(err)
}

// changed reads the file again after a refusal: a process that the lock does not reach, on another host, may
// have replaced the token.
func (r *Refresh) changed(used *Stored, err error) (Stored, bool) {
	var f *Error
	if !errors.As(err, &f) || f.Reason != ReasonSignIn {
		return Stored{}, false
	}
	s, err := r.File.Load()
	return s, err == nil && s.Refresh.Reveal() != used.Refresh.Reveal()
}
