package upstream

import (
	"context"
	"errors"
	"slices"

	"github.com/emersion/go-sasl"

	"mailwhy/relay/upstream/mechanism"
	"mailwhy/relay/upstream/oauth"
)

// Authenticator proves to the server who we are. Implementations are safe for concurrent use.
type Authenticator interface {
	// Client returns the SASL client for the best of the mechanisms that the server offers, which are in
	// upper case and in the server's order. It returns ErrNoMechanism if it supports none of them. Any
	// other error is a problem on our side (a secret that cannot be read, a token that was not granted),
	// and its text is logged.
	Client(ctx context.Context, offered []string) (sasl.Client, error)
}

// ErrNoMechanism is returned by an Authenticator that supports none of the offered mechanisms.
var ErrNoMechanism = errors.New("none of the offered mechanisms is supported")

// Credentials are a user name and a password, or a client certificate.
type Credentials struct {
	Username string
	Password func() (string, error) // called for each login, so that a changed secret needs no restart
	// Mechanisms that may be used, best first: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256, EXTERNAL. EXTERNAL
	// needs a client certificate in the TLS settings and no password; the Username, which may be empty, is
	// whom to act for.
	Mechanisms []string
}

// Client implements Authenticator.
func (c *Credentials) Client(_ context.Context, offered []string) (sasl.Client, error) {
	for _, m := range c.Mechanisms {
		if !slices.Contains(offered, m) {
			continue
		}
		if m == mechanism.External {
			return sasl.NewExternalClient(c.Username), nil
		}
		password, err := c.Password()
		if err != nil {
			return nil, err
		}
		switch m {
		case mechanism.Plain:
			return sasl.NewPlainClient("", c.Username, password), nil
		case mechanism.Login:
			return mechanism.NewLogin(c.Username, password), nil
		case mechanism.CRAMMD5:
			return mechanism.NewCRAMMD5(c.Username, password), nil
		case mechanism.SCRAMSHA256:
			return mechanism.NewSCRAMSHA256(c.Username, password)
		}
	}
	return nil, ErrNoMechanism
}

// Tokens gives out access tokens. *oauth.Cached implements it.
type Tokens interface {
	// Token returns a token that is good now. Its error is an *oauth.Error, or the context's.
	Token(ctx context.Context) (oauth.Token, error)
	// Refused takes note that the server refused a token, and reports whether another one is worth a try.
	Refused(t oauth.Token) bool
}

// Bearer logs in with an OAuth access token. If the server refuses it, the login is tried once more with a
// new token, on a new connection.
type Bearer struct {
	Username   string // the mailbox
	Tokens     Tokens
	Mechanisms []string // that may be used, best first: XOAUTH2, OAUTHBEARER
	Host       string   // of the server, for OAUTHBEARER
	Port       int
}

// Client implements Authenticator.
func (b *Bearer) Client(ctx context.Context, offered []string) (sasl.Client, error) {
	for _, m := range b.Mechanisms {
		create := bearerMechanism(m)
		if create == nil || !slices.Contains(offered, m) {
			continue
		}
		token, err := b.Tokens.Token(ctx)
		if err != nil {
			return nil, err
		}
		says := mechanism.Bearer{Username: b.Username, Token: token.Access.Reveal(), Host: b.Host,
			Port: b.Port}
		client, err := create(says)
		return &tokenClient{client, func() bool { return b.Tokens.Refused(token) }}, err
	}
	return nil, ErrNoMechanism
}

// bearerMechanism makes the client of a mechanism that carries a token; nil for any other.
func bearerMechanism(name string) func(mechanism.Bearer) (*mechanism.BearerClient, error) {
	switch name {
	case mechanism.XOAUTH2:
		return mechanism.NewXOAUTH2
	case mechanism.OAuthBearer:
		return mechanism.NewOAuthBearer
	}
	return nil
}

// renewable is a sasl.Client whose credentials can be replaced by new ones.
type renewable interface {
	// renew is called after a refusal. It reports whether new ones are worth a try.
	renew() bool
}

// tokenClient is a mechanism with the token that it carries.
type tokenClient struct {
	*mechanism.BearerClient
	refused func() bool
}

func (c *tokenClient) renew() bool { return c.refused() }
