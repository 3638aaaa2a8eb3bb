package oauth

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mailwhy/relay"
)

// Secrets are what replicas share and nobody else may see.
type Secrets interface {
	// Secret returns a secret, its version, 0 if there is none, and how long ago it was stored.
	Secret(ctx context.Context, name string) (value []byte, version int64, age time.Duration, err error)
	// PutSecret stores a secret durably in place of the one with the version old, or of none if that is 0. ok
	// is false if another one is there. After an error it is not known whether it was stored.
	PutSecret(ctx context.Context, name string, old int64, value []byte) (ok bool, err error)
}

// Shared lets the replicas of a cluster have the tokens of an upstream in common: one of them at a time asks
// the endpoint, the others get what it was given. One that dies meanwhile costs the time of its lease.
type Shared struct {
	Upstream string // its name, and what tells its account from another's
	Secrets  Secrets
	Duties   relay.Duties
	Log      *slog.Logger
}

// The lease of a replica that asks the endpoint.
const (
	lease      = 30 * time.Second
	leaseAgain = lease / 3
	leaseWait  = 500 * time.Millisecond // how often one asks whether another is done
)

// hold waits until this replica alone may do something, or until over reports that it need not any more: done
// is nil then.
func (s *Shared) hold(ctx context.Context, what string, over func() (bool, error)) (
	done func(), err error) {
	name := "oauth/" + s.Upstream + "/" + what
	for {
		epoch, ok, err := s.Duties.Hold(ctx, name, lease)
		if err != nil {
			return nil, s.away(ctx, err)
		}
		if ok {
			return s.keep(name, epoch), nil
		}
		select {
		case <-time.After(leaseWait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if is, err := over(); is || err != nil {
			return nil, err
		}
	}
}

// keep prolongs a lease until done is called.
func (s *Shared) keep(name string, epoch int64) (done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var works sync.WaitGroup
	works.Go(func() {
		ticker := time.NewTicker(leaseAgain)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.Duties.Hold(ctx, name, lease) // if it is lost, what is stored tells of it
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		works.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), leaseAgain)
		defer cancel()
		s.Duties.Drop(ctx, name, epoch) // else it lapses
	}
}

// away is the fault of an engine that does not answer.
func (s *Shared) away(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{Reason: ReasonUnavailable, Who: WhoOperator, Temporary: true,
		Description: fmt.Sprintf("the tokens that the relays share cannot be reached: %v", err),
		Fix:         "See that the database of the cluster answers, and that all relays have the same key."}
}

// Source makes the access tokens of a source common to all replicas.
func (s *Shared) Source(from Source) Source { return &sharedSource{Shared: s, from: from} }

// sharedSource asks its own source only for a token that no other replica has got. A caller who asks again
// wants another one than before.
type sharedSource struct {
	*Shared
	from Source

	mu   sync.Mutex
	last Secret // that was returned
}

// sharedToken is an access token as it is stored. Wall clocks of replicas differ, so it says only for how
// long it is good.
type sharedToken struct {
	Access string        `json:"access_token"`
	Life   time.Duration `json:"life"`
	Spent  time.Duration `json:"spent"` // of its life, when it was stored
}

func (s *sharedSource) expiries() (secret, certificate time.Time) {
	if e, ok := s.from.(expiring); ok {
		return e.expiries()
	}
	return time.Time{}, time.Time{}
}

// name is that of the secret.
func (s *sharedSource) name() string { return "oauth/" + s.Upstream + "/access" }

// Fetch implements Source.
func (s *sharedSource) Fetch(ctx context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, version, err := s.stored(ctx)
	if err != nil {
		return Token{}, err
	}
	if !s.wanted(&token) {
		done, err := s.hold(ctx, "access", func() (bool, error) {
			token, version, err = s.stored(ctx)
			return err == nil && s.wanted(&token), err
		})
		if err != nil {
			return Token{}, err
		}
		if done != nil {
			defer done()
			if token, version, err = s.stored(ctx); err != nil {
				return Token{}, err
			}
		}
	}
	if !s.wanted(&token) {
		if token, err = s.from.Fetch(ctx); err != nil {
			return Token{}, err
		}
		s.store(ctx, token, version)
	}
	s.last = token.Access
	return token, nil
}

// wanted reports whether a stored token is good for the caller: another one than it had, and not due to be
// replaced.
func (s *sharedSource) wanted(t *Token) bool {
	return !t.Access.IsZero() && t.Access.Reveal() != s.last.Reveal() && time.Now().Before(t.refreshAt())
}

// stored is the token that the replicas share; the zero token if there is none.
func (s *sharedSource) stored(ctx context.Context) (Token, int64, error) {
	asked := time.Now()
	value, version, age, err := s.Secrets.Secret(ctx, s.name())
	if err != nil {
		return Token{}, 0, s.away(ctx, err)
	}
	var t sharedToken
	if version == 0 || json.Unmarshal(value, &t) != nil { // what cannot be read is replaced
		return Token{}, version, nil
	}
	issued := asked.Add(-age - t.Spent)
	return Token{Access: NewSecret(t.Access), Issued: issued, Expires: issued.Add(t.Life)}, version, nil
}

// store shares a token. If that fails the others get one of their own.
func (s *sharedSource) store(ctx context.Context, t Token, version int64) {
	value, err := json.Marshal(sharedToken{Access: t.Access.Reveal(), Life: t.Expires.Sub(t.Issued),
		Spent: time.Since(t.Issued)})
	if err == nil {
		_, err = s.Secrets.PutSecret(ctx, s.name(), version, value)
	}
	if err != nil {
		s.Log.Warn("the access token cannot be shared", "upstream", s.Upstream, "err", err)
	}
}
