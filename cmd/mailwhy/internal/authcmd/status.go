package authcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/upstream/oauth"
)

func newStatus(o Options) *cobra.Command {
	var s status
	c := &cobra.Command{
		Use:   "status [-c FILE | --token-file FILE]",
		Short: "Show how an upstream is logged in to, and whether it works",
		Long: `Shows where the access tokens of an upstream come from and, if that is the login of a
person, what its token file holds, the token left out. With --try it gets an access
token, as the relay would, and shows what that token says of itself; a refresh token
that the provider replaces is written to the file. Nothing is sent to the upstream.

Exit status 1 when the file cannot be used or the provider refuses.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.choose(o); err != nil {
				return err
			}
			return s.run(c)
		},
	}
	s.register(c)
	c.Flags().StringVar(&s.tokenFile, "token-file", "", "`file` of the refresh token")
	c.Flags().StringVar(&s.secretFile, "client-secret-file", "", "`file` with the application's secret")
	c.Flags().BoolVar(&s.try, "try", false, "get an access token")
	return c
}

// status is what to show: an upstream of the configuration, or a token file alone.
type status struct {
	chosen
	tokenFile, secretFile string
	try                   bool

	upstream *config.Upstream // nil: the token file alone
}

// choose finds the upstream, unless a file is named.
func (s *status) choose(o Options) error {
	if s.tokenFile != "" {
		return nil
	}
	u, err := s.chosen.upstream(o.Load)
	switch {
	case err != nil:
		return o.Usage(err)
	case u == nil || !u.HasOAuth():
		return o.Usage(errors.New("no upstream with OAuth is configured; give -c or --token-file"))
	}
	s.upstream, s.tokenFile = u, u.OAuthTokenFile
	return nil
}

func (s *status) run(c *cobra.Command) error {
	out := c.OutOrStdout()
	if s.upstream != nil {
		printUpstream(out, s.name, s.upstream)
	}
	if s.tokenFile != "" {
		if err := printFile(out, s.tokenFile); err != nil {
			return err
		}
	}
	if !s.try {
		return nil
	}
	source, err := s.source(slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)))
	if err != nil {
		return tokenError(err)
	}
	token, err := source.Fetch(c.Context())
	if err != nil {
		return tokenError(err)
	}
	printToken(out, token)
	return nil
}

// source is where access tokens come from. log hears of a refresh token that cannot be written.
func (s *status) source(log *slog.Logger) (oauth.Source, error) {
	if s.upstream != nil && s.secretFile == "" {
		return options.TokenSource(s.name, s.upstream, nil, log)
	}
	a := account{secretFile: s.secretFile}
	return &oauth.Refresh{Store: oauth.File{Path: s.tokenFile}, Proof: a.proof(), Log: log}, nil
}

// printUpstream shows what is configured; a token file has the rest.
func printUpstream(out io.Writer, name string, u *config.Upstream) {
	row(out, "upstream", name)
	row(out, "user", u.Username)
	row(out, "grant", u.OAuthGrant)
	if u.OAuthTokenFile != "" {
		row(out, "token file", u.OAuthTokenFile)
		return
	}
	row(out, "provider", cmp.Or(u.OAuthProvider, "(by URL)"))
	row(out, "token URL", u.OAuthTokenURL)
	row(out, "client id", u.OAuthClientID)
	row(out, "tenant", u.OAuthTenant)
	row(out, "scope", u.OAuthScope)
	row(out, "secret expires", u.OAuthSecretExpires.String())
}

// printFile shows what a token file holds.
func printFile(out io.Writer, name string) error {
	s, err := oauth.File{Path: name}.Load(context.Background())
	if err != nil {
		return err
	}
	row(out, "provider", cmp.Or(s.Provider, "(by URL)"))
	row(out, "token URL", s.TokenURL)
	row(out, "client id", s.ClientID)
	row(out, "tenant", s.Tenant)
	row(out, "login", s.User)
	row(out, "scope", s.Scope)
	row(out, "logged in", s.LoggedIn.UTC().Format(time.RFC3339))
	if !s.Rotated.IsZero() {
		row(out, "rotated", s.Rotated.UTC().Format(time.RFC3339))
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		warnMode(out, info.Mode())
	}
	return nil
}

// row prints a name and a value that is known.
func row(out io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(out, "%-14s %s\n", name, visible(value))
	}
}

func warnMode(out io.Writer, mode fs.FileMode) {
	fmt.Fprintf(out, "warning: others can read the file (mode %04o); chmod 600\n", mode.Perm())
}

// printToken says what is known of an access token.
func printToken(out io.Writer, token oauth.Token) {
	row(out, "access token", "valid for "+time.Until(token.Expires).Round(time.Minute).String())
	c, ok := oauth.ReadClaims(token.Access)
	if !ok {
		return
	}
	row(out, "audience", c.Audience)
	row(out, "token user", c.User)
	row(out, "roles", strings.Join(c.Roles, " "))
	row(out, "scopes", strings.Join(c.Scopes, " "))
	if lack := c.Lacks(); lack != "" {
		fmt.Fprintf(out, "warning: the token lacks the permission %s\n", lack)
	}
}

// visible leaves out what a terminal would obey: the file may be of anybody's making.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
