// Package access says who may use the relay's HTTP API and its page: tokens, each with a name and scopes.
//
// A token is 32 random bytes that are shown once, when it is made (Create). The tokens file has only its
// SHA-256: a hash without salt or work is enough, since nobody can guess 256 random bits. The file is the
// truth: `mailwhy token` changes it with or without a running relay, and Authorize reads it at every request,
// so that a revoked token is refused at once.
//
// What always holds: a file that cannot be read, or that others may write, authorizes nobody; the time that
// Authorize takes does not depend on how much of a token is right; no token is ever in an error or a log.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scope is what a token is good for.
type Scope string

// The scopes.
const (
	Diagnose Scope = "diagnose" // have replies explained and policies tested; nothing of the mail is seen
	Events   Scope = "events"   // follow the stream of events
	Read     Scope = "read"     // see everything; includes Diagnose and Events
	Write    Scope = "write"    // change things, too; includes all others
)

// Scopes are all scopes, the smallest first.
func Scopes() []Scope { return []Scope{Diagnose, Events, Read, Write} }

// includes reports whether s is good for what want is good for.
func (s Scope) includes(want Scope) bool {
	return s == want || s == Write || s == Read && want != Write
}

// ParseScopes reads names of scopes, and names the known ones in its error.
func ParseScopes(names []string) (scopes []Scope, err error) {
	for _, name := range names {
		s := Scope(strings.TrimSpace(name))
		if !slices.Contains(Scopes(), s) {
			return nil, fmt.Errorf("not a scope: %q; use diagnose, events, read or write", name)
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("no scope is given; use diagnose, events, read or write")
	}
	return scopes, nil
}

// Identity is who asks.
type Identity struct {
	Name   string // of the token
	Scopes []Scope
}

// Operator is whoever can open the control socket: the relay's own user, and root. It may do everything.
func Operator() Identity { return Identity{Name: "control socket", Scopes: []Scope{Write}} }

// May reports whether the identity has a scope that includes s.
func (i Identity) May(s Scope) bool {
	return slices.ContainsFunc(i.Scopes, func(has Scope) bool { return has.includes(s) })
}

// Tokens authorizes by the tokens of a file. It is safe for concurrent use.
type Tokens struct {
	path string
	now  func() time.Time
}

// NewTokens makes Tokens of the file at path, which need not be there yet. now is the wall clock.
func NewTokens(path string, now func() time.Time) *Tokens { return &Tokens{path: path, now: now} }

// Authorize returns who has this token; ok is false for one that is unknown, revoked or expired.
func (t *Tokens) Authorize(secret string) (who Identity, ok bool) {
	list, err := List(t.path)
	if err != nil {
		return Identity{}, false
	}
	sum := sha256.Sum256([]byte(secret))
	var found *Token
	for i := range list { // all of them, whichever it is
		if subtle.ConstantTimeCompare(list[i].SHA256, sum[:]) == 1 {
			found = &list[i]
		}
	}
	if found == nil || found.Expired(t.now()) {
		return Identity{}, false
	}
	return Identity{Name: found.Name, Scopes: found.Scopes}, true
}

// Fault is why no token is accepted; nil when the file is in order.
func (t *Tokens) Fault() error {
	_, err := List(t.path)
	return err
}
