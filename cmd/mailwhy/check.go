package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/dsn"
	"mailwhy/relay/smtpd"
)

func newCheckCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and print what is in force",
		Long: `Reads the configuration as serve would, with the files that it names, and prints every setting that is in force,
secrets left out, with where it comes from. Nothing is started, changed or connected to.

Exit status 2 when there are mistakes; all of them are listed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.source(c))
			if err == nil {
				err = checkParts(cfg)
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

// checkParts makes of the configuration what each part of the relay would, for the mistakes that only they can see.
func checkParts(cfg *config.Config) error {
	_, errEngine := newEngine(cfg)
	composer, errTemplates := composerOptions(cfg, make([]byte, 32))
	if errTemplates == nil {
		_, errTemplates = dsn.New(composer)
	}
	_, errTLS := newCertificate(&cfg.TLS, slog.New(slog.DiscardHandler))
	_, errUpstream := upstreamOptions(cfg)
	access, errAccess := accessOf(cfg)
	return errors.Join(errEngine, errTemplates, errTLS, errUpstream, errAccess, smtpd.CheckOpen(listens(cfg), access))
}
