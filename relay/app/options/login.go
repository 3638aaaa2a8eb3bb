package options

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/oauth"
	"mailwhy/relay/upstream/sespassword"
)

// TokenTransport carries the requests to an upstream's token endpoint: through its proxy if it has one, and
// never through one of the environment. An HTTP API's ca_file holds for it too.
func TokenTransport(u *config.Upstream) (http.RoundTripper, error) {
	t := &http.Transport{DisableKeepAlives: true} // a token lasts longer than a connection is kept
	way, err := WayOut(u)
	if way != nil {
		t.DialContext = way.DialContext
	}
	if u.IsAPI() && u.CAFile != "" {
		var fault error
		t.TLSClientConfig, fault = (&tlsconf.Client{Mode: tlsconf.Implicit, CAFile: u.CAFile,
			MinVersion: tls.VersionTLS12}).Config("", true)
		err = errors.Join(err, fault)
	}
	return t, err
}

// passwordOf is the password, derived where it is not kept.
func passwordOf(u *config.Upstream) func() (string, error) {
	secret := secretOf(u.Password, u.PasswordFile)
	if u.PasswordKind != "aws_secret" {
		return secret
	}
	return func() (string, error) {
		key, err := secret()
		if err != nil {
			return "", err
		}
		return sespassword.Derive(key, u.Region), nil
	}
}

// secretOf reads a secret from its file at each use, so that a changed one needs no restart.
func secretOf(value value.Secret, file string) func() (string, error) {
	if file == "" {
		return func() (string, error) { return value.Reveal(), nil }
	}
	return func() (string, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
}

func upper(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToUpper(w)
	}
	return out
}

// credentials are the login by password or client certificate; nil for none.
func credentials(u *config.Upstream) upstream.Authenticator {
	if u.Username == "" && !slices.Contains(u.Auth, "external") {
		return nil
	}
	return &upstream.Credentials{Username: u.Username, Mechanisms: upper(u.Auth),
		Password: passwordOf(u)}
}

// Bearer is the login by access tokens.
func Bearer(u *config.Upstream, tokens upstream.Tokens) upstream.Authenticator {
	return &upstream.Bearer{Username: u.Username, Tokens: tokens, Mechanisms: upper(u.Auth), Host: u.Host,
		Port: u.Port}
}

// TokenSource is where the access tokens of an upstream come from, for the relay and for commands that look
// at its login. It is checked as far as that is possible without the endpoint.
// Relays of a cluster share them; without others share is nil.
func TokenSource(name string, u *config.Upstream, share *oauth.Shared, log *slog.Logger) (
	oauth.Source, error) {
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
		var store oauth.Store = oauth.File{Path: u.OAuthTokenFile}
		if share != nil {
			store = share.Store(store)
		}
		source = &oauth.Refresh{Store: store, Proof: proof(u), HTTP: carrier,
			Log: log, Want: oauth.Stored{ClientID: u.OAuthClientID, TokenURL: u.OAuthTokenURL},
			Seed: oauth.Stored{Provider: u.OAuthProvider, ClientID: u.OAuthClientID,
				TokenURL: u.OAuthTokenURL, Scope: u.OAuthScope, User: u.Username,
				Refresh: oauth.NewSecret(u.OAuthRefreshToken.Reveal())}}
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
	if share != nil {
		return share.Source(source), nil
	}
	return source, nil
}

// Sealed is where the relays of a cluster keep what they share of a login.
type Sealed interface {
	oauth.Secrets
	relay.Duties
}

// SharedTokens are the tokens of an upstream that the relays of a cluster share. A changed account has its
// own.
func SharedTokens(name string, u *config.Upstream, in Sealed, log *slog.Logger) *oauth.Shared {
	account := sha256.Sum256([]byte(strings.Join([]string{u.OAuthGrant, u.OAuthClientID, u.OAuthTokenURL,
		u.OAuthScope, u.OAuthSubject, u.Username}, "\n")))
	return &oauth.Shared{Upstream: fmt.Sprintf("%s-%x", name, account[:8]), Secrets: in, Duties: in, Log: log}
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

// Revealed are the secrets themselves.
func Revealed(secrets []value.Secret) (list []string) {
	for _, s := range secrets {
		list = append(list, s.Reveal())
	}
	return list
}
