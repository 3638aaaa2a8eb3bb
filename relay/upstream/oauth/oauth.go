// Package oauth gets OAuth 2.0 access tokens for logging in to an upstream.
//
// The upstream room asks a Cached for a token at each login; a Cached asks its Source, which asks a token
// endpoint. The sources are the grants that providers of mail offer: ClientCredentials (with a secret, a
// certificate or a workload identity), Refresh (a refresh token in a file), ServiceAccount (Google). The
// logins of a person, by device code or in a browser, are made once by the command `mailwhy auth login` and
// end in the file that Refresh reads.
//
// What always holds:
//
//   - Nothing secret is in an error, a log or a dump: secrets are of type Secret, errors carry what the
//     endpoint said after everything that was sent to it has been removed.
//   - A failed request is an *Error that says who must act and what to do, from one table (table.go).
//   - A request never follows a redirect, which would send the secret to another host, and has a time limit.
//   - A rotated refresh token is written before the access token that came with it is used. If it cannot be
//     written, it is kept in memory and written as soon as it can be.
//   - Of the replicas of a cluster one at a time asks the endpoint, and the others get what it was given.
//   - Expiry is measured by the monotonic clock, from the moment when the request began.
//
// Which endpoint and scope a provider has the caller says; this package has no defaults.
//
// The files: endpoint (the request), fault and table (errors), credentials, proof and assertion (client
// credentials), refresh and file, service (Google), cached and expiry, login and browser (logins of a
// person), claims, shared (what replicas have in common).
//
// RFC 6749 (OAuth 2.0), 7521 and 7523 (assertions), 7636 (PKCE), 8252 (loopback redirect), 8628 (device).
package oauth

import (
	"context"
	"log/slog"
	"time"
)

// Source gets a new access token each time it is asked. Its error is an *Error, or the context's.
// Implementations are safe for concurrent use.
type Source interface {
	Fetch(ctx context.Context) (Token, error)
}

// Token is an access token.
type Token struct {
	Access  Secret
	Issued  time.Time
	Expires time.Time
}

// Secret is a string that no formatting, encoding or logging shows. The zero Secret is empty.
type Secret struct{ value *string } // a pointer, because fmt calls no method of an unexported field

// NewSecret hides s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal is the string itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == nil }

// String implements fmt.Stringer.
func (s Secret) String() string { return "[hidden]" }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return "[hidden]" }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[hidden]") }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[hidden]"), nil }
