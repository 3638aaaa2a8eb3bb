package authcmd

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/relay/app/options"
	"mailwhy/relay/upstream/oauth"
)

// chosen is the upstream that a command is about.
type chosen struct{ file, name string }

func (s *chosen) register(c *cobra.Command) {
	c.Flags().StringVarP(&s.file, "config", "c", "", "configuration `file` of the relay")
	c.Flags().StringVar(&s.name, "upstream", "", "`name` of the upstream, if there are several")
}

// upstream is the one in the configuration; nil if there is none.
func (s *chosen) upstream(load func(string) (*config.Config, error)) (*config.Upstream, error) {
	cfg, err := load(s.file)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(cfg.Upstream))
	switch {
	case s.name == "" && len(names) > 1:
		return nil, fmt.Errorf("--upstream must be given: there are %s", strings.Join(names, ", "))
	case s.name == "" && len(names) == 1:
		s.name = names[0]
	case s.name != "" && cfg.Upstream[s.name] == nil:
		return nil, fmt.Errorf("there is no upstream %q in the configuration", s.name)
	}
	return cfg.Upstream[s.name], nil
}

// account says which application logs in where, and where the result goes.
type account struct {
	provider, clientID, secretFile, tenant, authority string
	tokenFile, user, scope                            string
	tokenURL, authURL, deviceURL                      string
	secret                                            value.Secret
	http                                              http.RoundTripper // nil: by the environment
}

func (a *account) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.provider, "provider", "", "`name`: "+strings.Join(config.OAuthProviderNames(), ", "))
	f.StringVar(&a.clientID, "client-id", "", "`id` of the registered application")
	f.StringVar(&a.secretFile, "client-secret-file", "", "`file` with its secret, if it has one")
	f.StringVar(&a.tenant, "tenant", "", "directory of Microsoft's: its `id` or domain")
	f.StringVar(&a.user, "user", "", "`address` to log in with")
	f.StringVar(&a.scope, "scope", "", "`scope` to ask for, in place of the provider's")
	f.StringVar(&a.tokenURL, "token-url", "", "`URL` of the token endpoint, in place of the provider's")
	f.StringVar(&a.authURL, "auth-url", "", "`URL` of the login page, in place of the provider's")
	f.StringVar(&a.deviceURL, "device-url", "", "`URL` of the device endpoint, in place of the provider's")
	f.StringVar(&a.tokenFile, "token-file", "", "`file` to write the refresh token to")
}

// fill takes what the flags leave open from the upstream's configuration. Flags that name an application
// describe it wholly.
func (a *account) fill(u *config.Upstream) error {
	if u == nil || !u.HasOAuth() {
		return nil
	}
	if a.provider == "" && a.tokenURL == "" && a.clientID == "" {
		if u.OAuthTokenFile == "" && a.tokenFile == "" {
			return errors.New("oauth_token_file is not set: the upstream is logged in to by an " +
				"application, not a person; see mailwhy auth status")
		}
		a.provider, a.clientID, a.tenant, a.authority = u.OAuthProvider, u.OAuthClientID, u.OAuthTenant,
			u.OAuthAuthority
		a.tokenURL, a.secret = u.OAuthTokenURL, u.OAuthClientSecret
		a.scope = cmp.Or(a.scope, u.OAuthScope)
	}
	a.tokenFile = cmp.Or(a.tokenFile, u.OAuthTokenFile)
	a.user = cmp.Or(a.user, u.Username)
	var err error
	a.http, err = options.TokenTransport(u)
	return err
}

// login is what is to be done.
func (a *account) login() (*oauth.Login, error) {
	p, known := config.OAuthProviders()[a.provider]
	switch {
	case a.tokenFile == "" || a.clientID == "":
		return nil, errors.New("--client-id and --token-file must be given, or -c with oauth_client_id and " +
			"oauth_token_file")
	case !known && a.provider != "":
		return nil, fmt.Errorf("--provider %q is not known: there are %s", a.provider,
			strings.Join(config.OAuthProviderNames(), ", "))
	case !known && a.tokenURL == "":
		return nil, errors.New("--provider, or --token-url and --scope, must be given")
	}
	if p.Tenant && a.tokenURL == "" || a.tenant != "" {
		var err error
		if p, err = p.For(a.tenant, a.authority); err != nil {
			return nil, fmt.Errorf("the tenant of %s %w", cmp.Or(a.provider, "no provider"), err)
		}
	}
	return &oauth.Login{
		Endpoint: oauth.Endpoint{TokenURL: cmp.Or(a.tokenURL, p.TokenURL), ClientID: a.clientID,
			Proof: a.proof(), HTTP: a.http},
		AuthURL: cmp.Or(a.authURL, p.AuthURL), DeviceURL: cmp.Or(a.deviceURL, p.DeviceURL),
		Scope: cmp.Or(a.scope, p.UserScope), Offline: p.Offline, User: a.user,
	}, nil
}

// proof is the secret of a confidential client; nil if there is none.
func (a *account) proof() oauth.Proof {
	switch {
	case a.secretFile != "":
		return &oauth.ClientSecret{Read: func() (string, error) {
			b, err := os.ReadFile(a.secretFile)
			return strings.TrimSpace(string(b)), err
		}}
	case !a.secret.IsZero():
		return &oauth.ClientSecret{Read: func() (string, error) { return a.secret.Reveal(), nil }}
	}
	return nil
}
