package app

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/upstream/oauth"
)

// This file makes what an upstream is logged in to with.

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
		source, err := options.TokenSource(name, u, r.sharedTokens(cfg, name), r.log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		tokens[name] = oauth.NewCached(name, source, r.log)
	}
	return tokens, errors.Join(errs...)
}
