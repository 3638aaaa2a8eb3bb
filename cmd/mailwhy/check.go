package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/app"
)

func newCheckCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and print what is in force",
		Long: `Reads the configuration as serve would, with the files that it names, and prints every setting
in force and where it comes from; secrets are left out. Nothing is started, changed or connected to.

The exit status is 2 when there are mistakes; all of them are listed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.source(c))
			if err == nil {
				err = app.Check(cfg)
			}
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "mailwhy: warning:", w)
			}
			return cfg.Write(c.OutOrStdout())
		},
	}
	s.register(c)
	return c
}
