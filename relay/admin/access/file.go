package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay/internal/durable"
)

// Token is a token as the file has it.
type Token struct {
	Name    string    `json:"name"`
	Scopes  []Scope   `json:"scopes"`
	SHA256  Hash      `json:"sha256"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// Expired reports whether the token is of no use any more.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Hash is the SHA-256 of a token, hexadecimal in the file.
type Hash []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	if err == nil && len(b) != sha256.Size {
		err = fmt.Errorf("sha256 has %d bytes, not %d", len(b), sha256.Size)
	}
	*h = b
	return err
}

// The bounds of a tokens file.
const (
	maxFile = 1 << 20 // bytes
	random  = 32      // bytes of a token
)

// prefix tells programs that look for leaked secrets what they have found.
const prefix = "mailwhy_"

// validName is how a token may be called: it stands in logs and in commands.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// content is the tokens file.
type content struct {
	Tokens []Token `json:"tokens"`
}

// ErrUnknown is wrapped by the error of Revoke for a token that is not there.
var ErrUnknown = errors.New("no such token")

// List returns the tokens of the file at path, in the order in which they were made. A file that is not there
// has none.
func List(path string) ([]Token, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("tokens file: %w", err)
	}
	defer f.Close()
	return read(f)
}

// read reads an open tokens file.
func read(f *os.File) ([]Token, error) {
	bad := func(err error) ([]Token, error) { return nil, fmt.Errorf("tokens file %s: %w", f.Name(), err) }
	info, err := f.Stat()
	if err != nil {
		return bad(err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o022 != 0 {
		return bad(fmt.Errorf("has the mode %v: others could add tokens; chmod 600 it", mode))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("has more than %d bytes", maxFile)
	}
	if err != nil {
		return bad(err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	var c content
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return bad(err)
	}
	for i := range c.Tokens {
		if err := c.Tokens[i].check(); err != nil {
			return bad(fmt.Errorf("token %d: %w", i+1, err))
		}
	}
	return c.Tokens, nil
}

// check finds what is wrong with a token that somebody wrote into the file.
func (t *Token) check() error {
	if !validName.MatchString(t.Name) {
		return fmt.Errorf("not a name of a token: %q; use letters, digits, '.', '_' and '-', at most 64",
			t.Name)
	}
	if len(t.SHA256) != sha256.Size {
		return errors.New("sha256 is missing")
	}
	names := make([]string, len(t.Scopes))
	for i, s := range t.Scopes {
		names[i] = string(s)
	}
	_, err := ParseScopes(names)
	return err
}

// Create adds a token with a name that no other has, and returns what its user must send. That is stored
// nowhere. Without expires it is good until it is revoked.
func Create(path, name string, scopes []Scope, created, expires time.Time) (secret string, err error) {
	raw := make([]byte, random)
	rand.Read(raw) // never fails
	secret = prefix + base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(secret))
	t := Token{Name: name, Scopes: scopes, SHA256: sum[:], Created: created.UTC().Truncate(time.Second)}
	if !expires.IsZero() {
		t.Expires = expires.UTC().Truncate(time.Second)
	}
	if err := t.check(); err != nil {
		return "", err
	}
	return secret, edit(path, func(list []Token) ([]Token, error) {
		if slices.ContainsFunc(list, func(o Token) bool { return o.Name == name }) {
			return nil, fmt.Errorf("there is a token %q already; choose another name, or revoke it first",
				name)
		}
		return append(list, t), nil
	})
}

// Revoke removes tokens by name: all of them, or none and an error that wraps ErrUnknown.
func Revoke(path string, names ...string) error {
	return edit(path, func(list []Token) ([]Token, error) {
		for _, name := range names {
			i := slices.IndexFunc(list, func(t Token) bool { return t.Name == name })
			if i < 0 {
				return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
			}
			list = slices.Delete(list, i, i+1)
		}
		return list, nil
	})
}

// edit changes the file. Of several processes that do so each sees what the others wrote, and a reader sees
// the old file or the new one, whole.
func edit(path string, change func([]Token) ([]Token, error)) error {
	f, err := lock(path)
	if err != nil {
		return fmt.Errorf("tokens file: %w", err)
	}
	defer f.Close()
	list, err := read(f)
	if err != nil {
		return err
	}
	if list, err = change(list); err != nil {
		return err
	}
	if err := replace(f, list); err != nil {
		return fmt.Errorf("tokens file: %w", err)
	}
	return nil
}

// lock opens the file, makes it if there is none, and waits until no other process changes it. Closing it
// lets the next one go on.
func lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, err
		}
		opened, err := f.Stat()
		if now, errNow := os.Stat(path); err == nil && errNow == nil && os.SameFile(opened, now) {
			return f, nil
		}
		f.Close() // it was replaced while we waited
	}
}

// replace puts a new file in the place of the locked one.
func replace(locked *os.File, list []Token) error {
	path := locked.Name()
	data, err := json.MarshalIndent(content{append([]Token{}, list...)}, "", "  ")
	if err != nil {
		return err
	}
	next := path + ".new"
	os.Remove(next) // of a command that was killed; we hold the lock
	f, err := durable.Create(next, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = own(next, filepath.Dir(path))
	}
	if err != nil {
		f.Abort()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// own gives a file that root makes to the user whose directory it is in: the relay must be able to read it.
func own(path, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 {
		return os.Chown(path, int(s.Uid), int(s.Gid))
	}
	return nil
}
