package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay/internal/durable"
)

// File keeps a refresh token on disk, for every process that uses it.
//
// The file is JSON, replaced as a whole and readable by its owner alone. A file beside it, NAME.lock, is
// locked while the token is exchanged, so that two processes do not both use a token that may be used once.
type File struct {
	Path string
}

// Stored is what a File holds.
type Stored struct {
	Provider string // its name in the configuration; "" if the URLs were given
	ClientID string
	Tenant   string
	TokenURL string
	Scope    string
	User     string // who logged in, if known
	Refresh  Secret
	LoggedIn time.Time // when the person logged in
	Rotated  time.Time // when the endpoint last replaced the token; zero: never
}

// storedJSON is the form on disk.
type storedJSON struct {
	Version  int       `json:"version"`
	Provider string    `json:"provider,omitempty"`
	ClientID string    `json:"client_id"`
	Tenant   string    `json:"tenant,omitempty"`
	TokenURL string    `json:"token_url"`
	Scope    string    `json:"scope,omitempty"`
	User     string    `json:"user,omitempty"`
	Refresh  string    `json:"refresh_token"`
	LoggedIn time.Time `json:"logged_in"`
	Rotated  time.Time `json:"rotated,omitzero"`
}

// fileVersion is the version of the form on disk.
const fileVersion = 1

// Name implements Store.
func (f File) Name() string { return f.Path }

// missing is the error for a token file that is not there.
type missing struct{ path string }

// Error implements error.
func (m missing) Error() string { return m.path + " does not exist; mailwhy auth login makes it" }

// Unwrap says what it is.
func (m missing) Unwrap() error { return fs.ErrNotExist }

// Load implements Store.
func (f File) Load(context.Context) (Stored, error) {
	b, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Stored{}, missing{f.Path}
	}
	if err != nil {
		return Stored{}, err
	}
	return parseStored(f.Path, b)
}

// parseStored reads the form on disk, which a file or secret of that name has.
func parseStored(name string, b []byte) (Stored, error) {
	var j storedJSON
	if json.Unmarshal(b, &j) != nil { // the error would quote the file
		return Stored{}, fmt.Errorf("%s is not a valid token file: not JSON", name)
	}
	switch {
	case j.Version != fileVersion:
		return Stored{}, fmt.Errorf("%s has version %d; this program reads version %d", name, j.Version,
			fileVersion)
	case j.Refresh == "":
		return Stored{}, fmt.Errorf("%s holds no refresh token", name)
	}
	return Stored{
		Provider: j.Provider, ClientID: j.ClientID, Tenant: j.Tenant, TokenURL: j.TokenURL, Scope: j.Scope,
		User: j.User, Refresh: NewSecret(j.Refresh), LoggedIn: j.LoggedIn, Rotated: j.Rotated,
	}, nil
}

// form is the form on disk.
func (s *Stored) form() ([]byte, error) {
	return json.MarshalIndent(storedJSON{
		Version: fileVersion, Provider: s.Provider, ClientID: s.ClientID, Tenant: s.Tenant,
		TokenURL: s.TokenURL, Scope: s.Scope, User: s.User, Refresh: s.Refresh.Reveal(),
		LoggedIn: s.LoggedIn, Rotated: s.Rotated,
	}, "", "  ")
}

// Save implements Store: it replaces the file. After nil the new one is there whatever happens next; after an
// error the old one.
func (f File) Save(_ context.Context, s Stored) error {
	b, err := s.form()
	if err != nil {
		return err
	}
	f.sweep()
	return durable.WriteFile(f.Path, append(b, '\n'), 0o600)
}

// sweep removes what writers left behind that died before their rename. They hold a token.
func (f File) sweep() {
	dir := filepath.Dir(f.Path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(f.Path)+".tmp-") {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// lockPause is how often a lock is asked for that another process holds.
const lockPause = 100 * time.Millisecond

// Lock implements Store: it waits until no other process has the lock, and returns the function that gives it
// up. The system gives it up for a process that dies. On a file system that is read-only there is nothing to
// lock: nobody can replace the token there.
func (f File) Lock(ctx context.Context) (unlock func(), err error) {
	lock, err := os.OpenFile(f.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	switch {
	case errors.Is(err, unix.EROFS):
		return func() {}, nil
	case err != nil:
		return nil, err
	}
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { lock.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			lock.Close()
			return nil, fmt.Errorf("locking %s: %w", lock.Name(), err)
		}
		select {
		case <-ctx.Done():
			lock.Close()
			return nil, ctx.Err()
		case <-time.After(lockPause):
		}
	}
}
