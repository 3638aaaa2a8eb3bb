package oauth

import (
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"os"
	"time"
)

// ServiceAccount is the grant of a Google service account with domain-wide delegation: a signed JWT is
// exchanged for a token of one mailbox (RFC 7523, 2.1).
type ServiceAccount struct {
	KeyFile  string            // the JSON file that Google gives out, read for each request
	Subject  string            // address of the mailbox
	Scope    string            // https://mail.google.com/
	TokenURL string            // "": the key file's
	HTTP     http.RoundTripper // nil: http.DefaultTransport
}

// serviceKey is the part of the key file that is needed.
type serviceKey struct {
	Type     string `json:"type"`
	Email    string `json:"client_email"`
	KeyID    string `json:"private_key_id"`
	Key      string `json:"private_key"`
	TokenURL string `json:"token_uri"`
}

// serviceLife is the life of the assertion; Google allows an hour.
const serviceLife = time.Hour

// Check reports what is wrong with the settings.
func (s *ServiceAccount) Check() error {
	if s.Subject == "" || s.Scope == "" {
		return errors.New("a service account needs the address of a mailbox and a scope")
	}
	_, _, err := s.read()
	return err
}

// read reads the key file.
func (s *ServiceAccount) read() (serviceKey, *rsa.PrivateKey, error) {
	var k serviceKey
	b, err := os.ReadFile(s.KeyFile)
	if err != nil {
		return k, nil, unreadable("the service account's key: %v", err)
	}
	if json.Unmarshal(b, &k) != nil || k.Type != "service_account" { // the error would quote the file
		return k, nil, unreadable("%s is not the JSON key of a service account", s.KeyFile)
	}
	block, _ := pem.Decode([]byte(k.Key))
	if block == nil {
		return k, nil, unreadable("the private key in %s is not PEM", s.KeyFile)
	}
	key, err := parseKey(block)
	if err != nil {
		return k, nil, unreadable("%s: %v", s.KeyFile, err)
	}
	k.TokenURL = cmp.Or(s.TokenURL, k.TokenURL)
	if err := checkURL(k.TokenURL); err != nil {
		return k, nil, unreadable("%s: %v", s.KeyFile, err)
	}
	return k, key, nil
}

// Fetch implements Source.
func (s *ServiceAccount) Fetch(ctx context.Context) (Token, error) {
	k, key, err := s.read()
	if err != nil {
		return Token{}, err
	}
	now := time.Now()
	signed, err := signJWT(key, rs256, claimSet{"kid": k.KeyID}, claimSet{
		"iss": k.Email, "sub": s.Subject, "scope": s.Scope, "aud": k.TokenURL,
		"iat": now.Unix(), "exp": now.Add(serviceLife).Unix(),
	})
	if err != nil {
		return Token{}, unreadable("signing with %s: %v", s.KeyFile, err)
	}
	e := Endpoint{TokenURL: k.TokenURL, HTTP: s.HTTP}
	g, err := e.request(ctx, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {signed},
	})
	return g.Token, err
}
