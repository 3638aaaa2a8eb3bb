// Package app is a whole relay: it makes every room from a configuration and joins them. `mailwhy serve`
// and `mailwhy demo` run one, and so do tests and scripts; nothing else knows how the rooms fit together.
// It reads no flags, handles no signals, ends no process and keeps no globals, so that several relays can
// run in one process.
//
//	New     opens the spool, the delivery log and the listeners; what cannot be opened is an error here
//	Run     serves until its context ends, then finishes what is under way, and closes everything
//	Reload  puts another configuration in force, whole or not at all
//	Close   closes a relay that was not run
//
// A message goes from smtpd through accept into the spool, its lane hands it to the upstream, and what its
// settlement owes goes through report back into the spool. Each configured upstream has a lane. Which one a
// message goes to is the route's choice, and mail moves when its upstream is down or the routes have changed
// (routes.go).
//
// What always holds: what a reload may change stands behind atomic pointers or in lanes, the rooms
// themselves stay; a reload that fails changes nothing; the front door offers only what every upstream
// takes (see lanes.capabilities); without its control socket or its metrics a relay goes on, and its health
// says so; the lanes and the front door drain side by side, so that both have the whole grace.
//
// settings.go turns a configuration into each room's Options and does nothing else.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/config"
	"mailwhy/config/dropin"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/stream"
	"mailwhy/relay/app/options"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/app/page"
	clusterpg "mailwhy/relay/cluster/postgres"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/lane"
	"mailwhy/relay/lane/policy"
	"mailwhy/relay/lifecycle"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/record/redact"
	"mailwhy/relay/record/webhook"
	"mailwhy/relay/report"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/suppress"
	"mailwhy/relay/upstream/oauth"
)

// Options are what a Relay is made of. All are required but Engine and Certificates.
type Options struct {
	Config *config.Config // validated, as config.Load returns it; it is not changed
	Stdout io.Writer      // for a delivery log that goes to standard output
	Log    *slog.Logger   // the operational log

	// Engine explains refusals while the configuration has no rules of its own. Relays of one process may
	// share one, which takes some milliseconds to make; nil: the relay makes its own.
	Engine *diagnose.Engine

	// Certificates is how the hosts are reached that Amazon and Scaleway keep the certificates of their
	// signatures on; nil: as usual. It is for tests.
	Certificates http.RoundTripper
}

// ConfigError is a mistake in the configuration, or in a file that it names. Any other error of New
// comes from the machine: a port in use, a disk that cannot be written.
type ConfigError struct{ Err error }

// Error implements error.
func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap gives the mistakes.
func (e *ConfigError) Unwrap() error { return e.Err }

// Relay is a whole relay, ready to run. Its methods are safe for concurrent use; Run is for one call.
type Relay struct {
	log *slog.Logger
	key []byte // signs the reports' Message-IDs

	cfg      atomic.Pointer[config.Config]
	engine   atomic.Pointer[diagnose.Engine]
	composer atomic.Pointer[dsn.Composer]
	lanes    lanes
	router   atomic.Pointer[accept.Router]
	policies atomic.Pointer[policy.Set]
	outgoing atomic.Pointer[outgoing.Outgoing]
	ways     accept.Ways
	caps     *accept.Caps
	mover    accept.Mover
	astray   chan struct{} // mail may wait for an upstream that its route does not name
	hurry    chan struct{} // closed when sessions that wait for a verdict should end

	redactor atomic.Pointer[redact.Redactor] // of what is written about mail

	cert   atomic.Pointer[certificate]              // of the front door; nil without
	tokens atomic.Pointer[map[string]*oauth.Cached] // of OAuth, by the name of the upstream

	webhooks    *webhook.Webhooks
	spool       store
	cluster     *clusterpg.Cluster // what relays share; nil without others
	deliveryLog *deliverylog.Log
	metrics     *metrics.Metrics
	record      relay.Recorder // all of them
	reporter    *report.Reporter
	front       *smtpd.Server
	admin       *admin.Server
	listeners   []net.Listener // in the order of the configuration
	scraped     net.Listener   // metrics.listen; nil when it is not set
	api         net.Listener   // admin.listen; nil when it is not set
	events      *stream.Stream // of all events, for who follows them
	feedback    *feedbackRooms // nil when it is not configured
	suppressed  *suppress.List // nil when it is off
	fetcher     *sns.Fetcher
	embedded    *diagnose.Engine // without rules of the user's; nil until it is needed
	faults      faults
	life        *lifecycle.Life
	left        atomic.Pointer[lifecycle.Left] // set when Run has ended
	page        *page.Page

	reloading sync.Mutex // held by Reload
	ready     chan struct{}
	close     func() error
}

// New makes a relay and opens what it needs. An error that is a *ConfigError is a mistake in the
// configuration.
func New(o Options) (*Relay, error) {
	if o.Certificates == nil {
		o.Certificates = http.DefaultTransport
	}
	r := &Relay{log: o.Log, embedded: o.Engine, fetcher: sns.NewFetcher(o.Certificates),
		astray: make(chan struct{}, 1), hurry: make(chan struct{}), ready: make(chan struct{})}
	r.close = sync.OnceValue(r.closeAll)
	if err := r.open(fit(o.Config, descriptorLimit()), o.Stdout); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// open makes every room. On an error what was opened is left to Close.
func (r *Relay) open(cfg *config.Config, stdout io.Writer) error {
	r.warn(cfg)
	r.cfg.Store(cfg)
	if err := r.openStore(cfg, stdout); err != nil {
		return err
	}
	p, err := r.makeParts(cfg)
	if err != nil {
		return &ConfigError{err}
	}
	if err := r.openFeedback(cfg, &p); err != nil {
		p.close()
		return err
	}
	r.joinEngine()
	if err := r.webhooks.Open(p.webhooks); err != nil {
		p.close()
		return err
	}
	r.putInForce(cfg, p)
	if err := r.openDoor(cfg, p); err != nil {
		return err
	}
	return r.openAdmin(cfg)
}

// warn logs what is allowed but unwise in a configuration.
func (r *Relay) warn(cfg *config.Config) {
	for _, n := range cfg.DropIn {
		level := slog.LevelInfo
		if n.Outcome == dropin.Refused {
			level = slog.LevelWarn
		}
		r.log.Log(context.Background(), level, n.String())
	}
	for _, w := range cfg.Warnings {
		r.log.Warn(w)
	}
	if w := cfg.HostnameWarning(); w != "" {
		r.log.Warn(w)
	}
	if err := cfg.CheckUsers(); err != nil {
		r.log.Warn(err.Error())
	}
}

// openStore opens what outlives the process: the spool, its key, and the delivery log.
func (r *Relay) openStore(cfg *config.Config, stdout io.Writer) (err error) {
	r.redactor.Store(options.Redactor(cfg, nil)) // the key is in the spool, which tells of events itself
	if r.deliveryLog, err = deliverylog.New(options.DeliveryLog(cfg, stdout, r.redact, r.log)); err != nil {
		return err
	}
	r.metrics = metrics.New(r.metricsOptions())
	r.webhooks = webhook.New(r.webhookOptions(cfg))
	r.events = newEvents()
	r.record = relay.Recorders{r.metrics, r.webhooks, r.events, r.deliveryLog}
	if err = r.openCluster(cfg); err != nil {
		return err
	}
	if r.spool, err = r.openSpool(cfg, r.log); err != nil {
		return err
	}
	if err = r.openPage(); err != nil { // after the spool, which makes the directory
		return err
	}
	r.record = relay.Recorders{r.metrics, r.webhooks, r.page, r.events, r.deliveryLog}
	if _, local := r.spool.(relay.LocalSpool); local {
		r.life = lifecycle.New(r.spool)
	} else {
		r.life = lifecycle.NewRemote(r.spool)
	}
	if cfg.Suppression.Mode != "off" {
		if r.suppressed, err = suppress.Open(r.suppressOptions()); err != nil {
			return fmt.Errorf("suppression list: %w", err)
		}
		r.record = relay.Recorders{r.metrics, r.suppressed, r.webhooks, r.page, r.events, r.deliveryLog}
	}
	r.warnVolatile(cfg)
	if r.caps, err = accept.OpenCaps(filepath.Join(cfg.Spool.Dir, "daily.json"), time.Now); err != nil {
		return err
	}
	if r.key, err = spoolKey(filepath.Join(cfg.Spool.Dir, "key")); err != nil {
		return err
	}
	r.key, err = r.sharedKey(cfg, r.key)
	return err
}

// redact treats the addresses of an event as the configuration in force says.
func (r *Relay) redact(e *record.Event) { r.redactor.Load().Event(e) }

// spoolKey reads the spool's secret, and makes one if there is none. Losing it costs no mail, only the
// recognition of older reports.
func spoolKey(name string) ([]byte, error) {
	key, err := os.ReadFile(name)
	if err == nil && len(key) == 32 {
		return key, nil
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, os.WriteFile(name, key, 0o600)
}

// joinEngine makes the reporter, and prepares the lanes.
func (r *Relay) joinEngine() {
	r.reporter = report.New(report.Options{
		Spool: r.spool, Composer: (*currentComposer)(r), Record: r.record, Log: r.log, Now: time.Now,
		File:           dsn.WriteMaildir,
		Destination:    r.destination,
		FallbackSender: func(string) string { return r.cfg.Load().DSN.FallbackSender },
		Expires: func(m *relay.Message) time.Time {
			return m.Arrived.Add(r.cfg.Load().Retry.ExpireAfter)
		},
		Paused:   r.paused,
		EightBit: r.eightBit,
		Storm:    func() report.StormPolicy { return options.Storms(r.cfg.Load()) },
		Stored:   r.wake,
	})
	r.lanes.make = r.newLane
	r.lanes.prepare = r.prepare
	r.lanes.removed, r.lanes.log = r.findAstray, r.log
	r.spool.Watch(r.wake)
	r.joinRoutes()
}

// suppressions are what the lanes and the front door ask; nil when the list is off.
func (r *Relay) suppressions() relay.Suppressions {
	if r.suppressed == nil {
		return nil
	}
	return (*mailList)(r)
}

// mailList is the suppression list as mail meets it. The address that a sandbox sends everything to is never
// suppressed: all mail would be refused for it.
type mailList Relay

// Check implements relay.Suppressions.
func (l *mailList) Check(sender, recipient string, now time.Time) relay.SuppressionCheck {
	if to := l.cfg.Load().Sandbox.Redirect; to != "" && strings.EqualFold(to, recipient) {
		return relay.SuppressionCheck{}
	}
	return l.suppressed.Check(sender, recipient, now)
}

// suppressionList is the operator's way in; nil when the list is off.
func (r *Relay) suppressionList() relay.SuppressionList {
	if r.suppressed == nil {
		return nil
	}
	return r.suppressed
}

// reversePath is the reverse-path of a transaction to an upstream: a report gets the fallback sender where
// the upstream is configured as one that refuses the null sender, and not only once it has refused it; other
// mail gets the sender that the rules set.
func (r *Relay) reversePath(h *hop, t *relay.Transaction) string {
	if sender := r.outgoing.Load().Sender(t); sender != "" {
		return sender
	}
	path := r.reporter.ReversePath(t.Message)
	if path == "" && t.Message.Report && h.conf.Load().NullSender == "refused" {
		return r.cfg.Load().DSN.FallbackSender
	}
	return path
}

// prepare makes a transaction's content what is to leave.
func (r *Relay) prepare(h *hop, t *relay.Transaction) { r.outgoing.Load().Prepare(t, h.Capabilities) }

// destination is where reports about m go.
func (r *Relay) destination(m *relay.Message) report.Destination {
	return options.Destination(r.cfg.Load(), r.outgoing.Load().Allows, m)
}

// newLane makes the lane of an upstream.
func (r *Relay) newLane(name string, h *hop) *lane.Lane {
	return lane.New(lane.Options{
		Name: name, Spool: r.spool, Upstream: h, Record: r.record, Log: r.log, Now: time.Now,
		Account:           h.laneAccount,
		Cluster:           r.coordination(),
		SharedSpool:       r.cfg.Load().Spool.Shared(),
		Settings:          func() lane.Settings { return h.settings(r.cfg.Load()) },
		Diagnose:          func(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) },
		ReversePath:       func(t *relay.Transaction) string { return r.reversePath(h, t) },
		Alike:             func(m *relay.Message, i, j int) bool { return r.outgoing.Load().Alike(m, i, j) },
		NullSenderRefused: r.reporter.NullSenderRefused,
		Ruling:            r.ruling,
		Moved:             r.taken,
		NoticesDue:        r.reporter.Kick,
		Owe:               r.webhooks.Owe,
		EntriesDue:        r.webhooks.EntriesDue,
		Relayed:           r.relayed(),
		Suppressions:      r.suppressions(),
	})
}

// paused reports whether a lane is; one that is gone is not.
func (r *Relay) paused(lane string) bool {
	h := r.lanes.get(lane)
	return h != nil && h.lane.State().Paused
}

// eightBit reports whether a lane's upstream takes 8-bit content.
func (r *Relay) eightBit(lane string) bool {
	h := r.lanes.get(lane)
	if h == nil {
		return false
	}
	c, _ := h.Capabilities()
	return c.EightBit
}

// wake tells a lane that mail waits for it.
func (r *Relay) wake(name string) {
	if h := r.lanes.get(name); h != nil {
		h.lane.Kick()
		return
	}
	r.findAstray() // a reload removed the upstream while the message was being stored
}

// Close closes what New opened. Run does it at its end; a second call does nothing and returns the same
// error.
func (r *Relay) Close() error { return r.close() }

func (r *Relay) closeAll() error {
	for _, ln := range r.listeners {
		ln.Close()
	}
	for _, ln := range []net.Listener{r.scraped, r.api} {
		if ln != nil {
			ln.Close()
		}
	}
	r.lanes.close()
	r.closeCluster()
	err := r.feedback.close() // before the spool, into which it puts bounces
	if err != nil {
		r.log.Error("cannot close the store of feedback", "err", err)
	}
	if tokens := r.tokens.Load(); tokens != nil {
		for _, t := range *tokens {
			t.Close()
		}
	}
	if r.webhooks != nil {
		if errHooks := r.webhooks.Close(); errHooks != nil {
			r.log.Error("cannot close the events for webhooks", "err", errHooks)
			err = errors.Join(err, errHooks)
		}
	}
	if r.spool != nil {
		if errSpool := r.spool.Close(); errSpool != nil {
			r.log.Error("cannot close the spool", "err", errSpool)
			err = errors.Join(err, errSpool)
		}
	}
	if r.suppressed != nil { // before the log, which hears of what it still stores
		if errList := r.suppressed.Close(); errList != nil {
			r.log.Error("cannot close the suppression list", "err", errList)
			err = errors.Join(err, errList)
		}
	}
	if errPage := r.page.Close(); errPage != nil {
		r.log.Error("cannot close the history of the page", "err", errPage)
		err = errors.Join(err, errPage)
	}
	if r.deliveryLog != nil {
		if errLog := r.deliveryLog.Close(); errLog != nil {
			r.log.Error("cannot close the delivery log", "err", errLog)
			err = errors.Join(err, errLog)
		}
	}
	return err
}

// currentComposer is the composer in force.
type currentComposer Relay

func (c *currentComposer) Compose(rep *relay.Report) (*relay.Draft, error) {
	return c.composer.Load().Compose(rep)
}

func (c *currentComposer) ComposeDigest(d *relay.Digest) (*relay.Draft, error) {
	return c.composer.Load().ComposeDigest(d)
}
