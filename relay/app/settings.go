package app

import (
	"path/filepath"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/record/webhook"
	"mailwhy/relay/suppress"
)

// suppressOptions are the relay's own.
func (r *Relay) suppressOptions() suppress.Options {
	o := options.Suppress(r.cfg.Load, r.log)
	o.Record = func(e relay.Event) { r.record.Record(e) }
	o.Counted = func(m suppress.Mode, c suppress.Counted) {
		r.metrics.Suppressed(m == suppress.Observe, c.Taken)
	}
	return o
}

// webhookOptions are the part of the webhooks, to which events are sent.
func (r *Relay) webhookOptions(cfg *config.Config) webhook.Options {
	return webhook.Options{
		Dir: filepath.Join(cfg.Spool.Dir, "webhook"), Log: r.log, Now: time.Now, Busy: r.Busy,
		Tell: func(e relay.Event) { r.record.Record(e) }, Redact: r.redact,
		Limits: func() webhook.Limits {
			s := &r.cfg.Load().WebhookStore
			return webhook.Limits{Keep: s.Keep, MaxBytes: int64(s.MaxSize)}
		},
	}
}
