package oauth

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// ClientCredentials is the grant of an application that logs in as itself (RFC 6749, 4.4).
type ClientCredentials struct {
	Endpoint Endpoint
	Scope    string
}

// Check reports what is wrong with the settings.
func (c *ClientCredentials) Check() error {
	var errs []error
	if c.Endpoint.Proof == nil {
		errs = append(errs, errors.New("a secret, a certificate or a workload identity is needed"))
	}
	if c.Scope == "" {
		errs = append(errs, errors.New("a scope is needed"))
	}
	return errors.Join(append(errs, c.Endpoint.Check())...)
}

// Fetch implements Source.
func (c *ClientCredentials) Fetch(ctx context.Context) (Token, error) {
	g, err := c.Endpoint.request(ctx, url.Values{"grant_type": {"client_credentials"}, "scope": {c.Scope}})
	return g.Token, c.Endpoint.explain(err)
}

func (c *ClientCredentials) expiries() (secret, certificate time.Time) {
	return expiries(c.Endpoint.Proof)
}

// explain adds to a fault what only the owner of the secret can see.
func (e *Endpoint) explain(err error) error {
	var f *Error
	if s, ok := e.Proof.(*ClientSecret); ok && errors.As(err, &f) {
		if secret, unread := s.Read(); unread == nil {
			f.hint(secret)
		}
	}
	return err
}
