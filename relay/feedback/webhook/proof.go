package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// minSecret is how long a credential's secret must be: whoever guesses it can forge bounces.
const minSecret = 16

// credential is something that a provider sends along with each request.
type credential struct {
	kind  credentialKind
	name  string // of the field or parameter; the user for basic auth
	value string
}

// credentialKind is where a credential stands.
type credentialKind int

const (
	basicAuth credentialKind = iota // RFC 7617
	headerField
	urlParameter
)

// parseCredential reads a credential as it is configured. The error does not show it.
func parseCredential(s string) (credential, error) {
	c := credential{}
	var ok bool
	if rest, found := strings.CutPrefix(s, "?"); found {
		c.kind = urlParameter
		c.name, c.value, ok = strings.Cut(rest, "=")
	} else if name, value, found := strings.Cut(s, ": "); found && token(name) {
		c, ok = credential{headerField, http.CanonicalHeaderKey(name), value}, true
	} else {
		c.name, c.value, ok = strings.Cut(s, ":")
	}
	if !ok || c.name == "" {
		return c, errors.New(`a credential is "user:password", "Header-Name: value" or "?name=value"`)
	}
	if len(c.value) < minSecret {
		return c, fmt.Errorf("a credential needs a secret of at least %d characters", minSecret)
	}
	return c, nil
}

// token reports whether s can be the name of a header field (RFC 9110, 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// presents reports whether a request has one of the credentials. All of them are compared.
func presents(r *Request, credentials []credential) bool {
	found := 0
	for _, c := range credentials {
		found |= c.in(r)
	}
	return found == 1
}

// in is 1 if the request has the credential, and 0 if not, in constant time for the secret.
func (c credential) in(r *Request) int {
	switch c.kind {
	case headerField:
		return same(r.Header.Get(c.name), c.value)
	case urlParameter:
		return same(r.Query.Get(c.name), c.value)
	}
	user, password, ok := (&http.Request{Header: r.Header}).BasicAuth()
	if !ok {
		return 0
	}
	return same(user, c.name) & same(password, c.value)
}

// same is 1 if two strings are equal, in a time that does not tell how much of them is.
func same(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b)) // hides the lengths too
	return subtle.ConstantTimeCompare(x[:], y[:])
}

// signed reports whether a signature is the MAC of a text under one of the keys. All of them are tried.
func signed(newHash func() hash.Hash, keys []string, text, signature []byte) bool {
	found := false
	for _, key := range keys {
		mac := hmac.New(newHash, []byte(key))
		mac.Write(text)
		found = hmac.Equal(mac.Sum(nil), signature) || found
	}
	return found
}

// fromBase64 decodes a signature, nil if it is none.
func fromBase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

// recent reports why a signed time, in Unix seconds, is not near enough to now: nil if it is.
func recent(seconds string, now time.Time, old, ahead time.Duration) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return errors.New("the signed time cannot be read")
	}
	switch age := now.Sub(time.Unix(n, 0)); {
	case age > old:
		return fmt.Errorf("it was signed more than %v ago", old)
	case age < -ahead:
		return fmt.Errorf("it was signed more than %v ahead of our clock", ahead)
	}
	return nil
}

// errSignature reports that a signature does not fit.
var errSignature = errors.New("the signature does not fit")
