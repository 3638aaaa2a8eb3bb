package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/app/build"
	"mailwhy/relay/app/options"
	"mailwhy/relay/dsn"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/smtpd"
)

// openDoor makes the front door and opens the listeners, its own and that of the metrics.
func (r *Relay) openDoor(cfg *config.Config, p parts) error {
	o, err := r.frontOptions(cfg, p)
	if err == nil {
		err = smtpd.CheckOpen(options.Listens(cfg), o.Access)
	}
	if err == nil {
		r.front, err = smtpd.New(o)
	}
	if err != nil {
		return &ConfigError{err}
	}
	for i, l := range options.Listens(cfg) {
		ln, err := l.Open(os.FileMode(cfg.Listen[i].Mode))
		if err != nil {
			return err
		}
		r.listeners = append(r.listeners, ln)
	}
	r.metrics.Know(r.metricNames(o.Access))
	return r.openMetrics(cfg.Metrics.Listen)
}

// inbox takes accepted mail in.
func (r *Relay) inbox() *accept.Inbox {
	return &accept.Inbox{
		Spool: r.spool, Ways: &r.ways, Record: r.record, Now: time.Now, Taken: r.taken, Wake: r.wake,
		Rewrite: func(m *relay.Message) { r.outgoing.Load().Accept(m) },
		Trying: &accept.Try{
			Spool: r.spool, Offer: r.offer, Hurry: r.hurry,
			For: func() time.Duration { return r.cfg.Load().Accept.TryFor },
		},
		Suppressions: r.suppressions(),
		Diagnose:     func(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) },
	}
}

// offer hands a message to the lane of an upstream while its session waits.
func (r *Relay) offer(ctx context.Context, name string, o *accept.Offer) bool {
	h := r.lanes.get(name)
	return h != nil && h.lane.Offer(ctx, o)
}

// frontOptions are the front door's options, with the parts that were made for them.
func (r *Relay) frontOptions(cfg *config.Config, p parts) (smtpd.Options, error) {
	access, err := options.Access(cfg)
	if access.Users != nil && access.Users.Len() == 0 {
		r.log.Warn("access.users_file holds no users: nobody can authenticate", "file", cfg.Access.UsersFile)
	}
	inbox := r.inbox()
	know := func(m *relay.Message) {
		m.Unsuppressed = m.Unsuppressed && options.MayOverride(&r.cfg.Load().Suppression, &m.Client)
		m.Report = dsn.IsOwn(r.key, m, r.cfg.Load().DSN.FallbackSender)
	}
	take := func(ctx context.Context, m *relay.Message, mended io.Reader) error {
		know(m)
		return inbox.Accept(ctx, m, mended)
	}
	try := func(ctx context.Context, m *relay.Message, mended io.Reader,
		each bool) ([]relay.Recipient, error) {
		know(m)
		return inbox.Try(ctx, m, mended, each)
	}
	return smtpd.Options{
		Hostname: cfg.Hostname, Postmaster: "postmaster@" + cfg.Hostname,
		Accept: take, Try: try, Recorder: r.record, Access: access, Limits: options.FrontLimits(cfg),
		Capabilities: r.lanes.capabilities, TLS: p.cert.current, Fields: p.fields(), Log: r.log,
		NormalizeNewlines: cfg.SMTPD.BareNewline == "normalize",
		Domain:            cfg.Content.DefaultDomain, Mend: options.Mender(cfg, r.log).Mend,
		Gateway: smtpd.ContainerGateway(), Bounces: r.bounces(p.paths),
		Modes: options.AcceptModes(cfg),
	}, err
}

// metricsOptions are the metrics' part. What is read at a scrape need not be there yet.
func (r *Relay) metricsOptions() metrics.Options {
	o := metrics.Options{
		Queue: r.spoolStat,
		Lanes: r.lanes.states, Logins: r.logins,
		Now: time.Now, Version: build.Version(), GoVersion: runtime.Version(),
		Webhooks: func() []relay.WebhookState { return r.webhooks.Counted() },
	}
	if r.cfg.Load().Feedback.On() {
		o.Feedback = r.feedbackState
	}
	if r.cfg.Load().Suppression.Mode != "off" {
		o.Suppressions = func() relay.SuppressionListState { return r.suppressed.State() }
	}
	return o
}

// spoolStat is what the metrics say of the spool.
func (r *Relay) spoolStat(ctx context.Context) (s metrics.Spool, err error) {
	if s.SpoolStat, err = r.spool.Stat(ctx); err != nil {
		return s, err
	}
	if on, ok := r.spool.(relay.LocalSpool); ok {
		local, err := on.Local()
		s.Local = &local
		return s, err
	}
	return s, nil
}

// metricNames are the names that events may have now.
func (r *Relay) metricNames(a smtpd.Access) metrics.Names {
	n := metrics.Names{Upstreams: r.lanes.names(), Reasons: reasons(r.engine.Load()),
		Refusals: r.front.Reasons()}
	for _, network := range a.Networks {
		n.Clients = append(n.Clients, network.Name)
	}
	if a.Users != nil {
		n.Clients = append(n.Clients, a.Users.Names()...)
	}
	for _, w := range r.cfg.Load().Feedback.Webhook {
		n.Providers = append(n.Providers, w.Provider)
	}
	return n
}

// reasons are those that a diagnosis may have.
func reasons(e *diagnose.Engine) (ids []diagnose.Reason) {
	for _, info := range e.Reasons() {
		ids = append(ids, info.ID)
	}
	return ids
}

// openMetrics opens the listener at address, if one is wanted.
func (r *Relay) openMetrics(address string) (err error) {
	if address == "" {
		return nil
	}
	if r.scraped, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	return nil
}
