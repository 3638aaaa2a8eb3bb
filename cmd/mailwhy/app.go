package main

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/admin"
	"mailwhy/relay/dsn"
	"mailwhy/relay/lane"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/report"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/spool"
	"mailwhy/relay/upstream"
)

// relayApp is a whole relay: every part made and joined, ready to run. What a reload may change stands behind atomic
// pointers; the parts themselves stay.
type relayApp struct {
	log *slog.Logger
	key []byte // signs the reports' Message-IDs

	cfg      atomic.Pointer[config.Config]
	engine   atomic.Pointer[diagnose.Engine]
	composer atomic.Pointer[dsn.Composer]
	next     switchedUpstream

	spool     *spool.Spool
	record    *deliverylog.Log
	metrics   *metrics.Metrics
	events    relay.Recorder // both of them
	lane      *lane.Lane
	reporter  *report.Reporter
	front     *smtpd.Server
	admin     *admin.Server
	listeners []net.Listener // in the order of listens
	scraped   net.Listener   // metrics.listen; nil when it is not set
	troubles  troubles
}

// newRelay makes a relay. The listeners are open when it returns, so that a port in use is an error here.
func newRelay(cfg *config.Config, stdout io.Writer, log *slog.Logger) (r *relayApp, err error) {
	r = &relayApp{log: log}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	fitDescriptors(cfg, descriptorLimit())
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	r.cfg.Store(cfg)
	if err := r.openStore(cfg, stdout); err != nil {
		return r, err
	}
	p, err := r.makeParts(cfg)
	if err != nil {
		return r, &exitError{code: exitUsage, err: err}
	}
	r.putInForce(cfg, p)
	r.joinEngine(cfg)
	if err := r.openDoor(cfg, p.cert); err != nil {
		return r, err
	}
	r.admin = admin.New(admin.Options{Queue: r.spool, Control: r, Record: r.events, Log: log, Now: time.Now, Metrics: r.metrics})
	return r, nil
}

// openStore opens what outlives the process: the spool, its key, and the delivery log.
func (r *relayApp) openStore(cfg *config.Config, stdout io.Writer) (err error) {
	o := spoolOptions(cfg)
	o.Log = r.log
	o.Quarantined = r.quarantined
	if r.record, err = newDeliveryLog(&cfg.DeliveryLog, stdout, r.log); err != nil {
		return err
	}
	r.metrics = metrics.New(r.metricsOptions())
	r.events = relay.Recorders{r.metrics, r.record}
	if r.spool, err = spool.Open(o); err != nil {
		return err
	}
	if fs, ephemeral := spool.Ephemeral(cfg.Spool.Dir); ephemeral {
		r.log.Warn("the spool is on a file system that does not outlive the container or the machine; mount a volume", "dir", cfg.Spool.Dir, "file system", fs)
	}
	r.key, err = spoolKey(filepath.Join(cfg.Spool.Dir, "key"))
	return err
}

// spoolKey reads the spool's secret, and makes one if there is none. Losing it costs no mail, only the recognition
// of older reports.
func spoolKey(name string) ([]byte, error) {
	key, err := os.ReadFile(name)
	if err == nil && len(key) == 32 {
		return key, nil
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, os.WriteFile(name, key, 0o600)
}

func (r *relayApp) newUpstream(cfg *config.Config) (*upstream.Pool, error) {
	o, err := upstreamOptions(cfg)
	if err != nil {
		return nil, err
	}
	o.Log = r.log
	return upstream.New(o)
}

// joinEngine makes the lane and the reporter.
func (r *relayApp) joinEngine(cfg *config.Config) {
	name, _ := theUpstream(cfg)
	r.reporter = report.New(report.Options{
		Spool: r.spool, Composer: (*currentComposer)(r), Record: r.events, Log: r.log, Now: time.Now,
		File:           dsn.WriteMaildir,
		Destination:    func(*relay.Message) report.Destination { return reportRoute(r.cfg.Load()) },
		FallbackSender: func(string) string { return r.cfg.Load().DSN.FallbackSender },
		Expires:        func(m *relay.Message) time.Time { return m.Arrived.Add(r.cfg.Load().Retry.ExpireAfter) },
		Paused:         func(string) bool { return r.lane.State().Paused },
		EightBit:       func(string) bool { c, _ := r.next.Capabilities(); return c.EightBit },
		Storm: func() report.StormPolicy {
			c := &r.cfg.Load().DSN
			return report.StormPolicy{Threshold: c.StormThreshold, Window: c.StormWindow}
		},
		Stored: func(string) { r.lane.Kick() },
	})
	r.lane = lane.New(lane.Options{
		Name: name, Spool: r.spool, Upstream: &r.next, Record: r.events, Log: r.log, Now: time.Now,
		Settings:          func() lane.Settings { return laneSettings(r.cfg.Load()) },
		Diagnose:          func(s diagnose.Symptom) diagnose.Diagnosis { return r.engine.Load().Diagnose(s) },
		ReversePath:       r.reporter.ReversePath,
		NullSenderRefused: r.reporter.NullSenderRefused,
		NoticesDue:        r.reporter.Kick,
	})
}

// openDoor makes the front door and opens its listeners.
func (r *relayApp) openDoor(cfg *config.Config, cert *certificate) error {
	o, err := r.frontOptions(cfg, cert)
	if err == nil {
		err = smtpd.CheckOpen(listens(cfg), o.Access)
	}
	if err == nil {
		r.front, err = smtpd.New(o)
	}
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	for i, l := range listens(cfg) {
		ln, err := l.Open(os.FileMode(cfg.Listen[i].Mode))
		if err != nil {
			return err
		}
		r.listeners = append(r.listeners, ln)
	}
	r.metrics.Know(metrics.Names{Upstreams: []string{r.lane.State().Name}, Clients: clientNames(o.Access), Reasons: reasons(r.engine.Load())})
	return r.openMetrics(cfg.Metrics.Listen)
}

// frontOptions are the front door's options, with the certificate that was made for them; nil when there is none.
func (r *relayApp) frontOptions(cfg *config.Config, cert *certificate) (smtpd.Options, error) {
	access, err := accessOf(cfg)
	if access.Users != nil && access.Users.Len() == 0 {
		r.log.Warn("access.users_file holds no users: nobody can authenticate", "file", cfg.Access.UsersFile)
	}
	inbox := accept.Inbox{
		Spool: r.spool, Record: r.events, Now: time.Now,
		Route: func(*relay.Message) string { return r.lane.State().Name },
		Wake:  func(string) { r.lane.Kick() },
	}
	accept := func(ctx context.Context, m *relay.Message, content io.Reader) error {
		m.Report = dsn.IsOwn(r.key, m, r.cfg.Load().DSN.FallbackSender)
		return inbox.Accept(ctx, m, content)
	}
	return smtpd.Options{
		Hostname: cfg.Hostname, Postmaster: "postmaster@" + cfg.Hostname,
		Accept: accept, Recorder: r.events, Access: access, Limits: frontLimits(cfg),
		Capabilities: r.next.Capabilities, TLS: cert.current, Log: r.log,
		NormalizeNewlines: cfg.SMTPD.BareNewline == "normalize", KeepHeaders: !cfg.SMTPD.AddMissingHeaders,
		Gateway: smtpd.ContainerGateway(),
	}, err
}

// run serves until ctx ends or a listener fails, then drains: no mail is taken in, what is under way is finished.
func (r *relayApp) run(ctx context.Context) error {
	defer r.close()
	limitMemory()
	name, _ := theUpstream(r.cfg.Load())
	if n, err := r.spool.Reroute(ctx, []string{name}, name); err != nil {
		return err
	} else if n > 0 {
		r.log.Info("mail that waited for another upstream goes to this one", "messages", n, "upstream", name)
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var works sync.WaitGroup
	works.Go(func() { r.lane.Run(working, r.cfg.Load().ShutdownGrace) })
	works.Go(func() { r.reporter.Run(working) })
	works.Go(func() { r.heldReports().Run(working) })
	works.Go(func() { r.serveAdmin(working) })
	works.Go(func() { r.serveMetrics(working) })
	failed := make(chan error, len(r.listeners))
	for i, ln := range r.listeners {
		l := listens(r.cfg.Load())[i]
		works.Go(func() { failed <- r.front.Serve(ln, l) })
		r.log.Info("listening", "address", ln.Addr().String())
	}
	var err error
	select {
	case <-ctx.Done():
		r.log.Info("stopping: finishing what is under way")
	case err = <-failed:
	}
	r.drain(stop)
	works.Wait()
	return err
}

// heldReports gives up bounces that nobody could be brought to take.
func (r *relayApp) heldReports() *report.HeldReports {
	return report.NewHeldReports(report.HeldReportsOptions{
		Spool: r.spool, Record: r.events, Log: r.log, Now: time.Now,
		HoldFor: func() time.Duration { return r.cfg.Load().DSN.HoldFor },
	})
}

// busy reports whether there is more than one thing to do: several clients, or mail that waits for a connection.
func (r *relayApp) busy() bool { return r.front.Sessions() > 1 || r.lane.Waiting() > 1 }

// drain ends the lane and the front door side by side, so that both have the whole grace. What the door still takes in
// is in the spool, for the next start.
func (r *relayApp) drain(stop context.CancelFunc) {
	stop()
	grace, cancel := context.WithTimeout(context.Background(), r.cfg.Load().ShutdownGrace)
	defer cancel()
	if err := r.front.Shutdown(grace); err != nil {
		r.log.Warn("clients were cut off", "err", err)
	}
}

// serveAdmin answers on the control socket. Without it mail flows all the same.
func (r *relayApp) serveAdmin(ctx context.Context) {
	if err := r.admin.Serve(ctx, r.cfg.Load().Admin.Socket); err != nil {
		r.log.Error("no control socket: queue and health commands cannot reach this relay", "err", err)
		r.troubles.add(err.Error())
	}
}

// Kick implements admin.Control.
func (r *relayApp) Kick() {
	r.lane.Probe()
	r.lane.Kick()
	r.reporter.Kick()
}

// Lanes implements admin.Control.
func (r *relayApp) Lanes() []relay.LaneState { return []relay.LaneState{r.lane.State()} }

// Troubles implements admin.Control.
func (r *relayApp) Troubles() []string { return r.troubles.all() }

// close closes what newRelay opened, also when that failed half-way.
func (r *relayApp) close() {
	for _, ln := range r.listeners {
		ln.Close()
	}
	if r.scraped != nil {
		r.scraped.Close()
	}
	r.next.Close()
	if r.spool != nil {
		if err := r.spool.Close(); err != nil {
			r.log.Error("closing the spool", "err", err)
		}
	}
	if r.record != nil {
		if err := r.record.Close(); err != nil {
			r.log.Error("closing the delivery log", "err", err)
		}
	}
}

// quarantined tells of a message that the spool set aside.
func (r *relayApp) quarantined(q spool.Quarantined) {
	for _, e := range relay.QuarantinedEvents(q.ID, q.Message, q.Why, time.Now()) {
		r.events.Record(e)
	}
}

// limitMemory suits the garbage collector to a small container, unless the environment says otherwise: collecting a third
// more often than Go does by itself costs a few per cent of CPU and saves a tenth of the memory. The soft limit is
// far above what the relay needs, since one that is near makes the collector run without end.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(96 << 20)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75)
	}
	debug.FreeOSMemory() // reading the rules left garbage behind, which an idle relay would keep for minutes
}

// currentComposer is the composer in force.
type currentComposer relayApp

func (c *currentComposer) Compose(rep *relay.Report) (*relay.Draft, error) {
	return c.composer.Load().Compose(rep)
}

func (c *currentComposer) ComposeDigest(d *relay.Digest) (*relay.Draft, error) {
	return c.composer.Load().ComposeDigest(d)
}
