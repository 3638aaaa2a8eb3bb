// Package versioncmd is mailwhy version, which says what the program was built from.
package versioncmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"mailwhy/relay/app/build"
)

// New is the command.
func New() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is, and what it was built from",
		Long: `Prints the version, the commit and the Go release, as the build recorded them. "(devel)" is a
build without a version: from a checkout that has no tag.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(build.Read())
			}
			_, err := fmt.Fprint(c.OutOrStdout(), build.Read())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}
