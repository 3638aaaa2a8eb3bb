package app

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"mailwhy/config"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/smtpd"
)

// Check makes of a configuration what each room would, for the mistakes that only the rooms can see, and
// returns all of them. Nothing is opened, changed or connected to.
func Check(cfg *config.Config) error {
	_, errEngine := newEngine(cfg)
	composer, errTemplates := composerOptions(cfg, make([]byte, 32))
	if errTemplates == nil {
		_, errTemplates = dsn.New(composer)
	}
	_, errTLS := newCertificate(&cfg.TLS, slog.New(slog.DiscardHandler))
	_, errHooks := newHooks(cfg, sns.NewFetcher(http.DefaultTransport), slog.New(slog.DiscardHandler))
	errs := []error{errEngine, errTemplates, errTLS, errHooks}
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
		_, err := upstreamOptions(cfg, name)
		errs = append(errs, err)
		if u := cfg.Upstream[name]; u.HasOAuth() {
			_, err = TokenSource(name, u, nil)
			errs = append(errs, err)
		}
	}
	access, errAccess := accessOf(cfg)
	return errors.Join(append(errs, cfg.CheckUsers(), errAccess, smtpd.CheckOpen(listens(cfg), access))...)
}
