// Package authcmd is `mailwhy auth`: the login of a person to a provider with OAuth, and a look at what a
// login
// left behind. It prints; relay/upstream/oauth does the work.
package authcmd

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/relay/upstream/oauth"
)

// New is the command. usage marks an error as a mistake of whoever typed the command.
func New(usage func(error) error) *cobra.Command {
	c := &cobra.Command{
		Use:   "auth",
		Short: "Log in to a provider with OAuth, and look at the login",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLogin(usage), newStatus(usage))
	return c
}

// account are the flags that say which application logs in where.
type account struct {
	provider, clientID, secretFile, tenant, tokenFile string
	user, scope, tokenURL, authURL, deviceURL         string
}

func (a *account) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.provider, "provider", "", "`name`: "+strings.Join(oauth.ProviderNames(), ", "))
	f.StringVar(&a.clientID, "client-id", "", "`id` of the registered application")
	f.StringVar(&a.secretFile, "client-secret-file", "", "`file` with its secret, if it has one")
	f.StringVar(&a.tenant, "tenant", "", "directory of Microsoft's: its `id` or domain")
	f.StringVar(&a.user, "user", "", "`address` to log in with")
	f.StringVar(&a.scope, "scope", "", "`scope` to ask for, in place of the provider's")
	f.StringVar(&a.tokenURL, "token-url", "", "`URL` of the token endpoint, in place of the provider's")
	f.StringVar(&a.authURL, "auth-url", "", "`URL` of the login page, in place of the provider's")
	f.StringVar(&a.deviceURL, "device-url", "", "`URL` of the device endpoint, in place of the provider's")
}

// login is what the flags describe.
func (a *account) login() (*oauth.Login, error) {
	p, known := oauth.Providers()[a.provider]
	if !known && a.provider != "" {
		return nil, fmt.Errorf("--provider %q is not known: there are %s", a.provider,
			strings.Join(oauth.ProviderNames(), ", "))
	}
	if !known && a.tokenURL == "" {
		return nil, errors.New("--provider, or --token-url and --scope, must be given")
	}
	if p.Tenant && a.tokenURL == "" || a.tenant != "" {
		var err error
		if p, err = p.For(a.tenant); err != nil {
			return nil, fmt.Errorf("--tenant: %w", err)
		}
	}
	return &oauth.Login{
		Endpoint: oauth.Endpoint{TokenURL: cmp.Or(a.tokenURL, p.TokenURL), ClientID: a.clientID,
			Proof: a.proof()},
		AuthURL: cmp.Or(a.authURL, p.AuthURL), DeviceURL: cmp.Or(a.deviceURL, p.DeviceURL),
		Scope: cmp.Or(a.scope, p.UserScope), Offline: p.Offline, User: a.user,
	}, nil
}

// proof is the secret of a confidential client, if there is one.
func (a *account) proof() oauth.Proof {
	if a.secretFile == "" {
		return nil
	}
	return &oauth.ClientSecret{Read: func() (string, error) {
		b, err := os.ReadFile(a.secretFile)
		return strings.TrimSpace(string(b)), err
	}}
}

// tokenError adds to a fault of the token endpoint what to do about it.
func tokenError(err error) error {
	var f *oauth.Error
	if errors.As(err, &f) {
		return fmt.Errorf("%w\n%s (%s)", err, f.Fix, strings.ReplaceAll(string(f.Who), "_", " "))
	}
	return err
}
