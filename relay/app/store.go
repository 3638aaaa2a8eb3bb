package app

import (
	"log/slog"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/spool/sqlite"
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

// openSpool opens the spool with the engine that the configuration names.
func (r *Relay) openSpool(cfg *config.Config, log *slog.Logger) (store, error) {
	o := options.Spool(cfg, log)
	o.Quarantined = r.quarantined
	s, err := sqlite.Open(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// quarantined records a message that the spool set aside.
func (r *Relay) quarantined(q sqlite.Quarantined) {
	for _, e := range relay.QuarantinedEvents(q.ID, q.Message, q.Why, time.Now()) {
		r.record.Record(e)
	}
}
