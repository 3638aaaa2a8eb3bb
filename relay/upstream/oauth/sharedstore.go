package oauth

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
)

// Store makes a refresh token common to all replicas, which each begin with what a file has. Where the file
// has the later login it is the file's.
func (s *Shared) Store(file Store) Store { return &sharedStore{Shared: s, file: file} }

// sharedStore is a refresh token that the replicas share.
type sharedStore struct {
	*Shared
	file Store

	mu      sync.Mutex
	version int64 // of what was loaded
}

// name is that of the secret.
func (s *sharedStore) name() string { return "oauth/" + s.Upstream + "/refresh" }

// Name implements Store.
func (s *sharedStore) Name() string { return s.file.Name() }

// Lock implements Store.
func (s *sharedStore) Lock(ctx context.Context) (unlock func(), err error) {
	return s.hold(ctx, "refresh", func() (bool, error) { return false, nil })
}

// Load implements Store.
func (s *sharedStore) Load(ctx context.Context) (Stored, error) {
	own, errOwn := s.file.Load(ctx)
	value, version, _, err := s.Secrets.Secret(ctx, s.name())
	if err != nil {
		return Stored{}, s.away(ctx, err)
	}
	s.mu.Lock()
	s.version = version
	s.mu.Unlock()
	if version == 0 {
		return own, errOwn
	}
	shared, err := parseStored("the shared token of upstream "+s.Upstream, value)
	if errOwn == nil && (err != nil || own.LoggedIn.After(shared.LoggedIn)) {
		return own, nil
	}
	return shared, err
}

// Save implements Store. It is an error if another replica has stored a token since this one was loaded,
// which has lost its lease then.
func (s *sharedStore) Save(ctx context.Context, stored Stored) error {
	value, err := stored.form()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ok, err := s.Secrets.PutSecret(ctx, s.name(), s.version, value)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("another relay has replaced it: %w", fs.ErrExist)
	}
	s.version++
	return nil
}
