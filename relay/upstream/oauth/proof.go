package oauth

import (
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Proof shows a token endpoint who the client is. Params are called for each request, so that a changed
// secret, certificate or file needs no restart.
type Proof interface {
	Params(e *Endpoint) (url.Values, error)
}

// assertionType says that a client_assertion is a JWT (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientSecret is the proof by a secret that both sides know.
type ClientSecret struct {
	Read    func() (string, error)
	Expires time.Time // as configured, because no endpoint tells; zero: unknown
}

// Params implements Proof.
func (s *ClientSecret) Params(*Endpoint) (url.Values, error) {
	secret, err := s.Read()
	switch {
	case err != nil:
		return nil, unreadable("the client secret: %v", err)
	case secret == "":
		return nil, unreadable("the client secret is empty")
	}
	return url.Values{"client_secret": {secret}}, nil
}

// guid is the form of the Secret ID, which is often taken for the secret.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// hint makes the fix of a refused secret more precise.
func (e *Error) hint(secret string) {
	if e.Reason == ReasonSecret && guid.MatchString(secret) {
		e.Fix = "Set the secret's Value: what is configured looks like its Secret ID."
	}
}

// Federated is the proof by the token of a workload identity, which the platform puts into a file and
// replaces there. It has no secret that expires.
type Federated struct {
	File string
}

// Params implements Proof.
func (f *Federated) Params(*Endpoint) (url.Values, error) {
	b, err := os.ReadFile(f.File)
	if err != nil {
		return nil, unreadable("the token of the workload identity: %v", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return nil, unreadable("the token of the workload identity: %s is empty", f.File)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {token}}, nil
}

// Certificate is the proof by a signature (private_key_jwt): PS256 with the certificate's SHA-256.
type Certificate struct {
	CertFile string // PEM
	KeyFile  string // PEM; "" is CertFile
}

// assertionLife is how long an assertion may be used; Microsoft advises 5 to 10 minutes.
const assertionLife = 8 * time.Minute

// Params implements Proof.
func (c *Certificate) Params(e *Endpoint) (url.Values, error) {
	cert, key, err := readCertificate(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, unreadable("%v", err)
	}
	now := time.Now()
	signed, err := signJWT(key, ps256, thumbprint(cert), claimSet{
		"aud": e.TokenURL, "iss": e.ClientID, "sub": e.ClientID, "jti": newID(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return nil, unreadable("signing with %s: %v", c.KeyFile, err)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {signed}}, nil
}

// NotAfter is when the certificate expires; zero if it cannot be read.
func (c *Certificate) NotAfter() time.Time {
	cert, _, err := readCertificate(c.CertFile, c.KeyFile)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}

// expiries are when the secret and the certificate of a proof expire; zero where there is none or nobody
// knows.
func expiries(p Proof) (secret, certificate time.Time) {
	switch p := p.(type) {
	case *ClientSecret:
		return p.Expires, time.Time{}
	case *Certificate:
		return time.Time{}, p.NotAfter()
	}
	return time.Time{}, time.Time{}
}
