package app

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/smtpd"
)

// Check makes of a configuration what each room would, for the mistakes that only the rooms can see, and
// returns all of them. Nothing is opened, changed or connected to.
func Check(cfg *config.Config) error {
	engine, errEngine := options.Engine(cfg)
	if errEngine == nil {
		_, errEngine = options.Policies(cfg, engine)
	}
	composer, errTemplates := options.Composer(cfg, make([]byte, 32))
	if errTemplates == nil {
		_, errTemplates = dsn.New(composer)
	}
	_, errTLS := newCertificate(&cfg.TLS, slog.New(slog.DiscardHandler))
	_, errWebhooks := options.Endpoints(cfg)
	_, errOutgoing := outgoing.New(cfg, slog.New(slog.DiscardHandler))
	errs := []error{errEngine, errTemplates, errTLS, errOutgoing, checkFeedback(cfg), errWebhooks}
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
		_, err := options.Upstream(cfg, name)
		if cfg.Upstream[name].IsAPI() {
			err = options.CheckAPI(cfg, name)
		}
		errs = append(errs, err)
		if u := cfg.Upstream[name]; u.HasOAuth() {
			_, err = options.TokenSource(name, u, nil, nil)
			errs = append(errs, err)
		}
	}
	access, errAccess := options.Access(cfg)
	errOpen := smtpd.CheckOpen(options.Listens(cfg), access)
	return errors.Join(append(errs, cfg.CheckUsers(), errAccess, errOpen)...)
}

// checkFeedback is Check for the ways by which feedback comes in.
func checkFeedback(cfg *config.Config) error {
	r := &Relay{log: slog.New(slog.DiscardHandler)}
	_, errHooks := newHooks(cfg, sns.NewFetcher(http.DefaultTransport), r.log)
	_, errPaths := newReturnPaths(cfg, make([]byte, 32))
	_, errBoxes := r.newBoxes(cfg)
	return errors.Join(errHooks, errPaths, errBoxes)
}
