package authcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/upstream/oauth"
)

// maxPasted bounds the address that is pasted.
const maxPasted = 64 << 10

func newLogin(o Options) *cobra.Command {
	var a account
	var s chosen
	var device, paste bool
	c := &cobra.Command{
		Use:   "login [-c FILE | --provider NAME --client-id ID --token-file FILE]",
		Short: "Log in to the account that mail is sent with",
		Long: `Logs a person in and writes the refresh token that the relay uses from then on to a
file, which it replaces as the provider replaces the token. Only the file's owner can
read it. No password is asked for or kept.

Which application logs in where is in the configuration: oauth_provider,
oauth_client_id, oauth_token_file and so on of the upstream. Flags take their place.

The login is in a browser on this machine. On a machine without one use
--device, which shows a code to enter elsewhere, or, as Google gives no code for mail,
--paste: open the address anywhere, and paste the address that the browser ends at,
though it shows an error there.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := a.prepare(&s, o.Load, device)
			if err != nil {
				return o.Usage(err)
			}
			in, err := logIn(c, l, device, paste)
			if err != nil {
				return tokenError(err)
			}
			return a.save(c.Context(), c.OutOrStdout(), l, in)
		},
	}
	s.register(c)
	a.register(c)
	c.Flags().BoolVar(&device, "device", false, "log in on another machine with a code")
	c.Flags().BoolVar(&paste, "paste", false, "log in on another machine and paste the address it ends at")
	c.MarkFlagsMutuallyExclusive("device", "paste")
	return c
}

// prepare is the login that flags and configuration describe.
func (a *account) prepare(s *chosen, load func(string) (*config.Config, error), device bool) (*oauth.Login,
	error) {
	u, err := s.upstream(load)
	if err == nil {
		err = a.fill(u)
	}
	if err != nil {
		return nil, err
	}
	l, err := a.login()
	if err != nil {
		return nil, err
	}
	return l, l.Check(firstURL(l, device))
}

// firstURL is where a login begins.
func firstURL(l *oauth.Login, device bool) string {
	if device {
		return l.DeviceURL
	}
	return l.AuthURL
}

// logIn runs the login. What the person must do goes to the standard error.
func logIn(c *cobra.Command, l *oauth.Login, device, paste bool) (oauth.LoggedIn, error) {
	ask := c.ErrOrStderr()
	open := func(address string) { fmt.Fprintf(ask, "Open this address in a browser:\n\n%s\n\n", address) }
	switch {
	case device:
		return l.Device(c.Context(), func(p oauth.Prompt) {
			fmt.Fprintf(ask, "Open %s in any browser and enter the code %s\n", p.URL, p.Code)
		})
	case paste:
		return l.Paste(c.Context(), open, func() (string, error) {
			fmt.Fprint(ask, "Paste the address that the browser ends at: ")
			line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), maxPasted)).ReadString('\n')
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return line, err
		})
	}
	return l.Browser(c.Context(), open)
}

// save writes the token file.
func (a *account) save(ctx context.Context, out io.Writer, l *oauth.Login, in oauth.LoggedIn) error {
	f := oauth.File{Path: a.tokenFile}
	unlock, err := f.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	user := a.user
	claims, ok := oauth.ReadClaims(in.Token.Access)
	if ok && claims.User != "" {
		user = claims.User
	}
	err = f.Save(ctx, oauth.Stored{Provider: a.provider, ClientID: a.clientID, Tenant: a.tenant,
		TokenURL: l.Endpoint.TokenURL, Scope: l.Scope, User: user, Refresh: in.Refresh,
		LoggedIn: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if ok && claims.Lacks() != "" {
		fmt.Fprintf(out, "warning: the token lacks the permission %s\n", claims.Lacks())
	}
	_, err = fmt.Fprintf(out, "logged in; the refresh token is in %s\n", a.tokenFile)
	return err
}
