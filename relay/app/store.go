package app

import (
	"context"
	"log/slog"
	"os"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/spool/postgres"
	"mailwhy/relay/spool/sqlite"
	"mailwhy/relay/spool/volume"
)

// store is what a relay needs of its spool's engine.
type store interface {
	relay.Spool
	relay.Outbox
	relay.Stager
	relay.Admitter
	relay.Lister
	relay.Editor
	relay.Watcher
	Close() error
}

// openWithin is how long a relay waits for the database at its start, and for a standby of it. Whoever
// started the relay starts it again.
const openWithin = 30 * time.Second

// openSpool opens the spool with the engine that the configuration names.
func (r *Relay) openSpool(cfg *config.Config, log *slog.Logger) (store, error) {
	if cfg.Spool.Shared() {
		return openShared(cfg, log)
	}
	o := options.Spool(cfg, log)
	o.Quarantined = r.quarantined
	s, err := sqlite.Open(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openShared opens a spool that other relays have too, and makes the directory for what is this relay's own.
func openShared(cfg *config.Config, log *slog.Logger) (store, error) {
	if err := os.MkdirAll(cfg.Spool.Dir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	s, err := postgres.Open(ctx, options.SharedSpool(cfg, log))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// warnVolatile warns of a spool directory that goes with its container. With a shared spool no mail is in it.
func (r *Relay) warnVolatile(cfg *config.Config) {
	m, ok := volume.Look(cfg.Spool.Dir)
	if !ok || m.Loss() == nil {
		return
	}
	what := "mail that was accepted and is not relayed yet"
	if cfg.Spool.Shared() {
		if len(cfg.Webhook) == 0 && !cfg.Feedback.On() {
			return
		}
		what = "what webhooks are owed, and what providers have told of mail,"
	}
	loss := m.Loss()
	r.log.Warn("the spool is in "+loss.Where+": "+what+" is lost with it", "dir", cfg.Spool.Dir,
		"lost_when", loss.When, "to_mend", loss.Mend)
}

// quarantined records a message that the spool set aside.
func (r *Relay) quarantined(q sqlite.Quarantined) {
	for _, e := range relay.QuarantinedEvents(q.ID, q.Message, q.Why, time.Now()) {
		r.record.Record(e)
	}
}
