package postgres

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyLeast is the shortest key that secrets are sealed with, bytes.
const KeyLeast = 32

// The errors of secrets; test with errors.Is.
var (
	// ErrNoKey is returned by a member that was given no key.
	ErrNoKey = errors.New("secrets need a key, which this relay was not given")
	// ErrWrongKey is returned for a secret that was sealed with another key, or for another place.
	ErrWrongKey = errors.New("the secret was sealed with another key than this relay has")
)

// seal seals secrets, so that who reads the database learns nothing, and who writes it can forge nothing and
// move nothing: XChaCha20-Poly1305 with a random nonce, bound to the secret's name and version.
type seal struct{ aead cipher.AEAD }

// newSeal makes a seal of a key; nil without one.
func newSeal(key []byte) (*seal, error) {
	if key == nil {
		return nil, nil
	}
	if len(key) < KeyLeast {
		return nil, fmt.Errorf("the key of the cluster has %d bytes, at least %d are needed", len(key),
			KeyLeast)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "mailwhy cluster secrets", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return nil, err
	}
	return &seal{aead}, nil
}

// bound is what a sealed secret belongs to.
func bound(name string, version int64) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(version)), name...)
}

// close seals a value.
func (s *seal) close(name string, version int64, value []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, value, bound(name, version))
}

// open undoes close.
func (s *seal) open(name string, version int64, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrWrongKey
	}
	value, err := s.aead.Open(nil, sealed[:n], sealed[n:], bound(name, version))
	if err != nil {
		return nil, ErrWrongKey
	}
	return value, nil
}

// Secret returns a secret that the members share, its version, 0 if there is none, and how long ago it was
// stored, by the engine's clock.
func (c *Cluster) Secret(ctx context.Context, name string) (value []byte, version int64, age time.Duration,
	err error) {
	if c.seal == nil {
		return nil, 0, 0, ErrNoKey
	}
	var sealed []byte
	var old int64
	found, err := c.db.row(ctx, `
		SELECT version, sealed, (extract(epoch FROM clock_timestamp() - at) * 1e6)::bigint
		FROM @.secret WHERE name = $1`, []any{name}, &version, &sealed, &old)
	if err != nil || !found {
		return nil, 0, 0, err
	}
	value, err = c.seal.open(name, version, sealed)
	return value, version, time.Duration(old) * time.Microsecond, err
}

// PutSecret puts a secret in place of the one with the version old, or of none if that is 0. Of several
// members that try at once one succeeds. After an error it is not known whether it was stored.
func (c *Cluster) PutSecret(ctx context.Context, name string, old int64, value []byte) (
	ok bool, err error) {
	if c.seal == nil {
		return false, ErrNoKey
	}
	n, err := c.db.exec(ctx, `
		INSERT INTO @.secret AS s (name, version, sealed, at)
		VALUES ($1, $2::bigint + 1, $3, clock_timestamp())
		ON CONFLICT (name) DO UPDATE SET version = excluded.version, sealed = excluded.sealed,
			at = excluded.at WHERE s.version = $2`, name, old, c.seal.close(name, old+1, value))
	return n > 0, err
}
