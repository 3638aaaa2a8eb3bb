package oauth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Store keeps a refresh token for all who use it. File is one; another is shared by replicas.
type Store interface {
	// Name says for people where the token is.
	Name() string
	// Lock waits until nobody else exchanges the token, and returns the function that lets others do so.
	Lock(ctx context.Context) (unlock func(), err error)
	// Load returns what is stored. Its error is an fs.ErrNotExist if there is nothing.
	Load(ctx context.Context) (Stored, error)
	// Save replaces what is stored. After nil the new one is there whatever happens next. The caller holds
	// the lock.
	Save(ctx context.Context, s Stored) error
}

// Refresh is the grant of a refresh token in a Store (RFC 6749, 6). What is stored says which endpoint and
// client the token belongs to.
//
// Where the endpoint gives a new refresh token, it is written before the access token is handed out, so that
// a crash afterwards leaves a token that works. One that cannot be written is kept in memory, and written
// before the next request: the access token is good all the same, and mail that goes out frees a full disk.
type Refresh struct {
	Store Store
	Proof Proof             // of a confidential client; nil for a public one
	HTTP  http.RoundTripper // nil: http.DefaultTransport
	Log   *slog.Logger      // of a token that cannot be written; nil: discard
	Want  Stored            // what the configuration says the file holds; zero fields: nothing
	// Seed is used while there is no file, which is then made when the endpoint replaces the token; with a
	// zero Refresh there must be a file.
	Seed Stored

	mu       sync.Mutex
	unsaved  *Stored // could not be written; nil if all is on disk
	replaced Secret  // what the file holds in its place
}

// Check reports what is wrong with the file.
func (r *Refresh) Check() error {
	s, err := r.stored(context.Background())
	if f := (*Error)(nil); errors.As(err, &f) && f.Temporary {
		return nil // what is stored cannot be reached now
	}
	if err != nil {
		return err
	}
	e := r.endpoint(&s)
	return errors.Join(r.other(&s), e.Check())
}

// stored is what the file holds, or the seed if there is no file.
func (r *Refresh) stored(ctx context.Context) (Stored, error) {
	s, err := r.Store.Load(ctx)
	if errors.Is(err, fs.ErrNotExist) && !r.Seed.Refresh.IsZero() {
		return r.Seed, nil
	}
	return s, err
}

// other reports a file that belongs to another application or directory than the configuration.
func (r *Refresh) other(s *Stored) error {
	for _, x := range []struct{ what, want, has string }{
		{"client id", r.Want.ClientID, s.ClientID}, {"token URL", r.Want.TokenURL, s.TokenURL},
	} {
		if x.want != "" && x.want != x.has {
			return fmt.Errorf("%s is for the %s %s, not %s; log in again with mailwhy auth login",
				r.Store.Name(), x.what, x.has, x.want)
		}
	}
	return nil
}

func (r *Refresh) expiries() (secret, certificate time.Time) { return expiries(r.Proof) }

func (r *Refresh) endpoint(s *Stored) Endpoint {
	return Endpoint{TokenURL: s.TokenURL, ClientID: s.ClientID, Proof: r.Proof, HTTP: r.HTTP}
}

// Fetch implements Source.
func (r *Refresh) Fetch(ctx context.Context) (Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := r.Store.Lock(ctx)
	if err != nil {
		return Token{}, own(ctx, err)
	}
	defer unlock()
	s, err := r.load(ctx)
	if err != nil {
		return Token{}, own(ctx, err)
	}
	g, err := r.exchange(ctx, &s)
	if again, changed := r.changed(ctx, &s, err); changed {
		s = again
		g, err = r.exchange(ctx, &s)
	}
	if err != nil {
		return Token{}, err
	}
	if !g.Refresh.IsZero() {
		old := s.Refresh
		s.Refresh, s.Rotated = g.Refresh, time.Now().UTC().Truncate(time.Second)
		r.save(ctx, s, old)
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

// load reads the file. A token that could not be written goes before what the file holds, unless a login or
// another process has replaced that since.
func (r *Refresh) load(ctx context.Context) (Stored, error) {
	s, err := r.stored(ctx)
	switch {
	case r.unsaved == nil:
		return s, err
	case err == nil && s.Refresh.Reveal() != r.replaced.Reveal():
		r.unsaved = nil
		return s, nil
	}
	s = *r.unsaved
	r.save(ctx, s, r.replaced)
	return s, nil
}

// save writes s in place of old, or keeps it for the next time.
func (r *Refresh) save(ctx context.Context, s Stored, old Secret) {
	err := r.Store.Save(ctx, s)
	if err == nil {
		r.unsaved = nil
		return
	}
	if r.unsaved == nil {
		r.replaced = old
	}
	r.unsaved = &s
	if r.Log != nil {
		r.Log.Error("the new refresh token cannot be written: it is kept in memory, and lost at a restart",
			"file", r.Store.Name(), "err", err)
	}
}

func (r *Refresh) exchange(ctx context.Context, s *Stored) (grant, error) {
	e := r.endpoint(s)
	if err := e.Check(); err != nil {
		return grant{}, unreadable("%s: %v", r.Store.Name(), err)
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
func (r *Refresh) changed(ctx context.Context, used *Stored, err error) (Stored, bool) {
	var f *Error
	if !errors.As(err, &f) || f.Reason != ReasonSignIn {
		return Stored{}, false
	}
	s, err := r.Store.Load(ctx)
	return s, err == nil && s.Refresh.Reveal() != used.Refresh.Reveal()
}
