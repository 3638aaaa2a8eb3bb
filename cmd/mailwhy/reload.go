package main

import (
	"errors"
	"fmt"
	"reflect"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/dsn"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/upstream"
)

// parts are what a reload replaces, the front door's options aside.
type parts struct {
	engine   *diagnose.Engine
	composer *dsn.Composer
	cert     *certificate
	pool     *upstream.Pool
}

// makeParts makes all of them, or says all that is wrong.
func (r *relayApp) makeParts(cfg *config.Config) (p parts, err error) {
	var errEngine, errTemplates, errTLS, errUpstream error
	p.engine, errEngine = newEngine(cfg)
	co, errTemplates := composerOptions(cfg, r.key)
	co.Log = r.log
	if errTemplates == nil {
		p.composer, errTemplates = dsn.New(co)
	}
	p.cert, errTLS = newCertificate(&cfg.TLS, r.log)
	p.pool, errUpstream = r.newUpstream(cfg)
	return p, errors.Join(errEngine, errTemplates, errTLS, errUpstream)
}

// putInForce replaces them. It cannot fail.
func (r *relayApp) putInForce(cfg *config.Config, p parts) {
	r.engine.Store(p.engine)
	r.composer.Store(p.composer)
	r.next.replace(p.pool)
	r.cfg.Store(cfg)
}

// reload puts a new configuration in force. On an error the old one stays, whole: what can fail comes first, and the front
// door's own reload, which changes all or nothing, last of that.
func (r *relayApp) reload(cfg *config.Config) error {
	name, _ := theUpstream(cfg)
	if was := r.lane.State().Name; name != was {
		return fmt.Errorf("the upstream was renamed from %s to %s: restart to rename it", was, name)
	}
	fitDescriptors(cfg, descriptorLimit())
	p, errParts := r.makeParts(cfg)
	o, errAccess := r.frontOptions(cfg, p.cert)
	err := errors.Join(errParts, errAccess, smtpd.CheckOpen(listens(cfg), o.Access))
	if err == nil {
		err = r.front.Reload(o)
	}
	if err != nil {
		if p.pool != nil {
			p.pool.Close()
		}
		return err
	}
	for _, section := range needRestart(r.cfg.Load(), cfg) {
		r.log.Warn("a change of [" + section + "] takes effect at the next start, not now")
	}
	r.putInForce(cfg, p)
	r.metrics.Know(metrics.Names{Clients: clientNames(o.Access), Reasons: reasons(p.engine)})
	for _, w := range cfg.Warnings {
		r.log.Warn(w)
	}
	r.lane.Probe() // what kept the upstream out of reach may be mended
	r.lane.Kick()
	if err := r.record.Reopen(); err != nil {
		r.log.Error("the delivery log cannot be opened anew: it goes on in the file as it was", "err", err)
	}
	return nil
}

// needRestart are the sections that differ and that a reload cannot change.
func needRestart(was, is *config.Config) (sections []string) {
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"listen", was.Listen, is.Listen}, {"spool", was.Spool, is.Spool}, {"delivery_log", was.DeliveryLog, is.DeliveryLog},
		{"log", was.Log, is.Log}, {"admin", was.Admin, is.Admin}, {"metrics", was.Metrics, is.Metrics},
	} {
		if !reflect.DeepEqual(s.was, s.is) {
			sections = append(sections, s.name)
		}
	}
	return sections
}
