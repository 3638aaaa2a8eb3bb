package app

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"mailwhy/config"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/oauth"
)

// This file makes what an upstream is logged in to with.

// credentials are the login by password or client certificate; nil for none.
func credentials(u *config.Upstream) upstream.Authenticator {
	if u.Username == "" && !slices.Contains(u.Auth, "external") {
		return nil
	}
	return &upstream.Credentials{Username: u.Username, Mechanisms: upper(u.Auth),
		Password: passwordOf(u)}
}

// bearer is the login by access tokens.
func bearer(u *config.Upstream, tokens upstream.Tokens) upstream.Authenticator {
	return &upstream.Bearer{Username: u.Username, Tokens: tokens, Mechanisms: upper(u.Auth), Host: u.Host,
		Port: u.Port}
}

// TokenSource is where the access tokens of an upstream come from, for the relay and for commands that look
// at its login. It is checked as far as that is possible without the endpoint.
func TokenSource(name string, u *config.Upstream, log *slog.Logger) (oauth.Source, error) {
	var source interface {
		oauth.Source
		Check() error
	}
	carrier, err := TokenTransport(u)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	switch u.OAuthGrant {
	case "refresh_token":
		source = &oauth.Refresh{File: oauth.File{Path: u.OAuthTokenFile}, Proof: proof(u), HTTP: carrier,
			Log: log, Want: oauth.Stored{ClientID: u.OAuthClientID, TokenURL: u.OAuthTokenURL}}
	case "service_account":
		source = &oauth.ServiceAccount{KeyFile: u.OAuthServiceAccountFile, Subject: u.OAuthSubject,
			Scope: u.OAuthScope, TokenURL: u.OAuthTokenURL, HTTP: carrier}
	default:
		source = &oauth.ClientCredentials{Scope: u.OAuthScope, Endpoint: oauth.Endpoint{
			TokenURL: u.OAuthTokenURL, ClientID: u.OAuthClientID, Proof: proof(u), HTTP: carrier}}
	}
	if err := source.Check(); err != nil {
		return nil, fmt.Errorf("upstream %s: OAuth: %w", name, err)
	}
	return source, nil
}

// proof shows the token endpoint who the client is; nil for a public client.
func proof(u *config.Upstream) oauth.Proof {
	switch {
	case u.OAuthCertFile != "":
		return &oauth.Certificate{CertFile: u.OAuthCertFile, KeyFile: u.OAuthKeyFile}
	case u.OAuthFederatedTokenFile != "":
		return &oauth.Federated{File: u.OAuthFederatedTokenFile}
	case !u.OAuthClientSecret.IsZero():
		return &oauth.ClientSecret{Read: secretOf(u.OAuthClientSecret, u.OAuthClientSecretFile),
			Expires: u.OAuthSecretExpires.Time()}
	}
	return nil
}

// logins are what the upstreams are logged in to with, where that has an end.
func (r *Relay) logins() []metrics.Login {
	var all []metrics.Login
	tokens := r.tokens.Load()
	for _, name := range r.lanes.names() {
		l := metrics.Login{Upstream: name}
		if u := r.cfg.Load().Upstream[name]; u != nil {
			l.TLSCertificateExpires = notAfter(u.CertFile)
		}
		if tokens != nil && (*tokens)[name] != nil {
			s := (*tokens)[name].Status()
			l.TokenIssued, l.TokenExpires, l.LastSuccess = s.Issued, s.Expires, s.LastSuccess
			l.SecretExpires, l.CertificateExpires = s.SecretExpires, s.CertificateExpires
		}
		all = append(all, l)
	}
	return all
}

// notAfter is when the first certificate in a file expires; zero if there is none.
func notAfter(file string) time.Time {
	b, err := os.ReadFile(file)
	if file == "" || err != nil {
		return time.Time{}
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return cert.NotAfter
		}
	}
	return time.Time{}
}

// newTokens makes what gives out the access tokens of each upstream with OAuth.
func (r *Relay) newTokens(cfg *config.Config) (map[string]*oauth.Cached, error) {
	tokens := map[string]*oauth.Cached{}
	var errs []error
	for name, u := range cfg.Upstream {
		if !u.HasOAuth() {
			continue
		}
		source, err := TokenSource(name, u, r.log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		tokens[name] = oauth.NewCached(name, source, r.log)
	}
	return tokens, errors.Join(errs...)
}
