package authcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mailwhy/relay/upstream/oauth"
)

func newStatus(usage func(error) error) *cobra.Command {
	var a account
	var try bool
	c := &cobra.Command{
		Use:   "status --token-file FILE",
		Short: "Show whose login a token file holds, and whether it works",
		Long: `Shows what a token file holds, the token left out. With --try it gets an access token,
as the relay would, and shows what that token says of itself; a refresh token that the
provider replaces is written to the file.

Exit status 1 when the file cannot be used or the provider refuses.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.tokenFile == "" {
				return usage(errors.New("--token-file must be given"))
			}
			f := oauth.File{Path: a.tokenFile}
			s, err := f.Load()
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			printStored(out, &s)
			if info, err := os.Stat(a.tokenFile); err == nil && info.Mode().Perm()&0o077 != 0 {
				warnMode(out, info.Mode())
			}
			if !try {
				return nil
			}
			r := &oauth.Refresh{File: f, Proof: a.proof()}
			token, err := r.Fetch(c.Context())
			if err != nil {
				return tokenError(err)
			}
			printToken(out, token)
			return nil
		},
	}
	c.Flags().StringVar(&a.tokenFile, "token-file", "", "`file` of the refresh token")
	c.Flags().StringVar(&a.secretFile, "client-secret-file", "", "`file` with the application's secret")
	c.Flags().BoolVar(&try, "try", false, "get an access token")
	return c
}

func printStored(out io.Writer, s *oauth.Stored) {
	row(out, "provider", cmp.Or(s.Provider, "(by URL)"))
	row(out, "token URL", s.TokenURL)
	row(out, "client id", s.ClientID)
	row(out, "tenant", s.Tenant)
	row(out, "user", s.User)
	row(out, "scope", s.Scope)
	row(out, "logged in", s.LoggedIn.UTC().Format(time.RFC3339))
	if !s.Rotated.IsZero() {
		row(out, "rotated", s.Rotated.UTC().Format(time.RFC3339))
	}
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
