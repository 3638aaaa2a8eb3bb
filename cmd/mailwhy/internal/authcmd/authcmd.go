// Package authcmd is `mailwhy auth`: the login of a person to a provider with OAuth, and a look at what a
// login left behind. It prints; relay/upstream/oauth does the work.
package authcmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/upstream/oauth"
)

// Options are what the command needs of the program. All are required.
type Options struct {
	Usage func(error) error                         // marks a mistake of whoever typed the command
	Load  func(file string) (*config.Config, error) // reads the configuration; "" is the environment's
}

// New is the command.
func New(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "auth",
		Short: "Log in to a provider with OAuth, and look at the login",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLogin(o), newStatus(o))
	return c
}

// tokenError adds to a fault of the token endpoint what to do about it.
func tokenError(err error) error {
	var f *oauth.Error
	if errors.As(err, &f) {
		return fmt.Errorf("%w. %s Who acts: %s", err, f.Fix, strings.ReplaceAll(string(f.Who), "_", " "))
	}
	return err
}
