package app

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/dsn"
	"mailwhy/relay/internal/returnpath"
	"mailwhy/relay/lane/policy"
	"mailwhy/relay/record/webhook"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/oauth"
	"mailwhy/relay/upstream/sandbox"
)

// parts are what a reload replaces, the front door's options aside.
type parts struct {
	engine   *diagnose.Engine
	composer *dsn.Composer
	cert     *certificate
	router   *accept.Router
	policies *policy.Set
	outgoing *outgoing.Outgoing
	hops     map[string]relay.Upstream // by the name of the upstream
	tokens   map[string]*oauth.Cached  // of those with OAuth
	hooks    *hooks
	paths    *returnpath.Paths // nil: mail keeps its senders
	webhooks []*webhook.Endpoint
}

// close closes parts that do not come into force.
func (p *parts) close() {
	for _, hop := range p.hops {
		hop.Close()
	}
	for _, t := range p.tokens {
		t.Close()
	}
}

// newEngine is the engine of a configuration. The one without rules of the user's is made once.
func (r *Relay) newEngine(cfg *config.Config) (*diagnose.Engine, error) {
	if cfg.Diagnose.RulesFile != "" {
		return options.Engine(cfg)
	}
	var err error
	if r.embedded == nil {
		r.embedded, err = options.Engine(cfg)
	}
	return r.embedded, err
}

// makeParts makes all of them, or says all that is wrong; then there is nothing to close.
func (r *Relay) makeParts(cfg *config.Config) (p parts, err error) {
	var errEngine, errPolicies, errTemplates, errTLS, errTokens, errUpstream, errRoutes, errOut, errHooks,
		errPaths, errWebhooks error
	if p.engine, errEngine = r.newEngine(cfg); errEngine == nil {
		p.policies, errPolicies = options.Policies(cfg, p.engine)
	}
	co, errTemplates := options.Composer(cfg, r.key)
	co.Log = r.log
	if errTemplates == nil {
		p.composer, errTemplates = dsn.New(co)
	}
	p.cert, errTLS = newCertificate(&cfg.TLS, r.log)
	p.tokens, errTokens = r.newTokens(cfg)
	p.paths, errPaths = newReturnPaths(cfg, r.key)
	p.hops, errUpstream = r.newHops(cfg, &p)
	p.router, errRoutes = options.Router(cfg)
	p.outgoing, errOut = outgoing.New(cfg, r.log)
	p.hooks, errHooks = newHooks(cfg, r.fetcher, r.log)
	p.webhooks, errWebhooks = options.Endpoints(cfg)
	err = errors.Join(errEngine, errPolicies, errTemplates, errTLS, errTokens, errUpstream, errRoutes,
		errOut, errHooks, errPaths, errWebhooks)
	if err != nil {
		p.close()
	}
	return p, err
}

// newHops makes the next hop of each upstream. Those of one account have one, and so its connections.
func (r *Relay) newHops(cfg *config.Config, p *parts) (map[string]relay.Upstream, error) {
	hops := map[string]relay.Upstream{}
	shared := map[config.Account]relay.Upstream{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstream)) {
		account := cfg.Upstream[name].Account()
		if hop := shared[account]; hop != nil {
			hops[name] = hop
			continue
		}
		hop, err := r.newHop(cfg, name, p)
		if err == nil {
			hop = inSandbox(&cfg.Sandbox, hop)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		hops[name], shared[account] = hop, hop
	}
	return hops, errors.Join(errs...)
}

// inSandbox puts the sandbox in front of a next hop, if it is on. Where all mail is kept there is none.
func inSandbox(s *config.Sandbox, hop relay.Upstream) relay.Upstream {
	if !s.On() {
		return hop
	}
	o := sandbox.Options{Next: hop, Allow: s.Allow, Redirect: s.Redirect, Now: time.Now}
	if s.Sink {
		o.Dir = s.Dir
	}
	if s.Sink && len(s.Allow) == 0 {
		hop.Close()
		o.Next = nil
	}
	return sandbox.New(o)
}

// newHop makes the next hop of one upstream, with the tokens and return paths among the parts.
func (r *Relay) newHop(cfg *config.Config, name string, p *parts) (relay.Upstream, error) {
	switch cfg.Upstream[name].Type {
	case "ses-api":
		return options.SES(cfg, name, r.log)
	case "graph":
		return options.Graph(cfg, name, p.tokens[name], r.log)
	}
	o, err := options.Upstream(cfg, name)
	if err != nil {
		return nil, err
	}
	o.Log = r.log
	if tokens := p.tokens[name]; tokens != nil {
		o.Auth = options.Bearer(cfg.Upstream[name], tokens)
	}
	addStamp(cfg, name, p.paths, &o)
	return upstream.New(o)
}

// putInForce replaces them. It cannot fail.
func (r *Relay) putInForce(cfg *config.Config, p parts) {
	r.redactor.Store(options.Redactor(cfg, r.key))
	r.engine.Store(p.engine)
	r.composer.Store(p.composer)
	r.router.Store(p.router)
	r.policies.Store(p.policies)
	r.outgoing.Store(p.outgoing)
	r.cert.Store(p.cert)
	if r.feedback != nil {
		r.feedback.door.use(p.hooks)
		r.feedback.mails.Store(r.mailReader(&p))
	}
	r.cfg.Store(cfg) // before the lanes: mail that comes now has a lane among the new ones
	r.lanes.set(cfg.Upstream, p.hops)
	r.webhooks.Set(p.webhooks)
	r.tokens.Store(&p.tokens) // exchanges under way keep the old ones; a fetch of theirs ends by itself
}

// fields are the header fields that routes look at; none before there are routes.
func (p *parts) fields() []string {
	if p.router == nil {
		return nil
	}
	return p.router.Headers()
}

// Reload puts another configuration in force, which it does not change. On an error the old one stays,
// whole: what can fail comes first, and the front door's own reload, which changes all or nothing, last of
// that. New upstreams get a lane; the lane of an upstream that is gone finishes what is under way. Mail that
// waits goes where the routes say now.
func (r *Relay) Reload(cfg *config.Config) error {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	cfg = fit(cfg, descriptorLimit())
	p, errParts := r.makeParts(cfg)
	o, errAccess := r.frontOptions(cfg, p)
	err := errors.Join(errParts, errAccess, smtpd.CheckOpen(options.Listens(cfg), o.Access),
		r.webhooks.Open(p.webhooks))
	if err == nil {
		err = r.front.Reload(o)
	}
	if err != nil {
		if errParts == nil {
			p.close()
		}
		return err
	}
	for _, section := range needRestart(r.cfg.Load(), cfg, r.suppressed != nil) {
		r.log.Warn("a change of [" + section + "] takes effect at the next start, not now")
	}
	r.putInForce(cfg, p)
	r.metrics.Know(r.metricNames(o.Access))
	r.warn(cfg)
	r.findAstray()
	r.lanes.tryNow() // what made an upstream unreachable may be repaired
	if err := r.deliveryLog.Reopen(); err != nil {
		r.log.Error("the delivery log cannot be reopened: it goes on in the old file", "err", err)
	}
	return nil
}

// fixedSuppression is what of the suppression list a reload cannot change. One that is open can be switched
// off and on.
func fixedSuppression(s *config.Suppression, open bool) []any {
	return []any{!open && s.Mode == "off", s.FoldCase}
}

// fixedListen is what of the listeners a reload cannot change.
func fixedListen(listen []config.Listen) []config.Listen {
	fixed := slices.Clone(listen)
	for i := range fixed {
		fixed[i].AcceptMode = ""
	}
	return fixed
}

// fixedLog is what of the log a reload cannot change: what is written of addresses it can.
func fixedLog(l config.Log) config.Log {
	l.Addresses = ""
	return l
}

// needRestart are the sections that differ and that a reload cannot change. list says that the suppression
// list is open.
func needRestart(was, is *config.Config, list bool) (sections []string) {
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"listen", fixedListen(was.Listen), fixedListen(is.Listen)}, {"spool", was.Spool, is.Spool},
		{"delivery_log", was.DeliveryLog, is.DeliveryLog},
		{"feedback", fixedFeedback(&was.Feedback), fixedFeedback(&is.Feedback)},
		{"suppression", fixedSuppression(&was.Suppression, list),
			fixedSuppression(&is.Suppression, list)},
		{"log", fixedLog(was.Log), fixedLog(is.Log)}, {"admin", was.Admin, is.Admin},
		{"metrics", was.Metrics, is.Metrics},
		{"page", fixedPage(&was.Page), fixedPage(&is.Page)},
	} {
		if !reflect.DeepEqual(s.was, s.is) {
			sections = append(sections, s.name)
		}
	}
	return sections
}
