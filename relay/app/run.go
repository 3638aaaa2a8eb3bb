package app

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/app/options"
	"mailwhy/relay/lifecycle"
	"mailwhy/relay/report"
)

// Run serves until ctx ends or a listener fails, then stops as package lifecycle has it: not ready for a
// while, then draining. It closes the relay. The control socket and HTTP answer until the end.
func (r *Relay) Run(ctx context.Context) error {
	defer r.Close()
	always := context.WithoutCancel(ctx)
	working, stop := context.WithCancel(always)
	defer stop()
	answering, silence := context.WithCancel(always)
	defer silence()
	var works, answers sync.WaitGroup
	works.Go(func() { r.lanes.run(working, r.grace) })
	r.findAstray() // the routes may have changed since the last run
	works.Go(func() { r.reconsiderRoutes(working) })
	works.Go(func() { r.failover(working) })
	works.Go(func() { r.caps.Run(working, r.log) })
	works.Go(func() { r.reporter.Run(working) })
	works.Go(func() { r.heldReports().Run(working) })
	r.runFeedback(working, &works)
	works.Go(func() { r.webhooks.Run(working, r.outboxes()) })
	unshare := r.shareSuppressions(always)
	r.serveAdmin(answering, &answers)
	r.serveAPI(answering, &answers)
	r.servePage(answering, &answers)
	answers.Go(func() { r.serveMetrics(answering) })
	failed := r.serveDoor(&works)
	r.life.Enter(lifecycle.Running)
	close(r.ready)
	err := r.serveUntil(ctx, failed)
	r.drain(stop)
	works.Wait()
	unshare() // what was learned to the end
	r.survey()
	silence()
	answers.Wait()
	return err
}

// serveUntil returns when ctx has ended and those who send connections had the time to notice, or with the
// error of a listener that failed.
func (r *Relay) serveUntil(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	}
	r.life.Enter(lifecycle.Stopping)
	delay := r.cfg.Load().ShutdownDelay
	if delay == 0 {
		return nil
	}
	r.log.Info("stopping: not ready, and mail is taken as before", "shutdown_delay", delay)
	select {
	case <-time.After(delay):
		return nil
	case err := <-failed:
		return err
	}
}

// serveDoor serves the front door's listeners, and returns where it tells of one that failed.
func (r *Relay) serveDoor(works *sync.WaitGroup) <-chan error {
	failed := make(chan error, len(r.listeners))
	for i, ln := range r.listeners {
		l := options.Listens(r.cfg.Load())[i]
		works.Go(func() { failed <- r.front.Serve(ln, l) })
		r.log.Info("listening", "address", ln.Addr().String())
	}
	return failed
}

// drain ends the front door, and the lanes when nothing is left that they could send in time; both have the
// whole grace for what is under way then. What the door takes in after the lanes have ended is in the spool,
// for the next start. Sessions that wait for a verdict have half of the grace: after that their mail is the
// spool's.
func (r *Relay) drain(stop context.CancelFunc) {
	r.life.Enter(lifecycle.Draining)
	cfg := r.cfg.Load()
	r.log.Info("draining: no more mail is taken, and what is under way is finished",
		"shutdown_drain", cfg.ShutdownDrain, "shutdown_grace", cfg.ShutdownGrace)
	defer time.AfterFunc(cfg.ShutdownGrace/2, func() { close(r.hurry) }).Stop()
	grace, cancel := context.WithTimeout(context.Background(), cfg.ShutdownGrace)
	defer cancel()
	var doors sync.WaitGroup
	doors.Go(func() { r.shutdownFeedback(grace) })
	doors.Go(func() {
		if err := r.front.Shutdown(grace); err != nil {
			r.log.Warn("clients were cut off", "err", err)
		}
	})
	if cfg.ShutdownDrain > 0 {
		until := time.Now().Add(cfg.ShutdownDrain)
		ctx, enough := context.WithDeadline(context.Background(), until)
		lifecycle.AwaitIdle(ctx, func(ctx context.Context) bool { return r.maySend(ctx, until) })
		enough()
	}
	stop()
	doors.Wait()
}

// maySend reports whether mail or a report may still go out, or come in, before until.
func (r *Relay) maySend(ctx context.Context, until time.Time) bool {
	soon := func(next time.Time, err error) bool {
		return err == nil && !next.IsZero() && next.Before(until)
	}
	if r.front.Sessions() > 0 {
		return true
	}
	for _, name := range r.lanes.names() {
		_, next, err := r.spool.Lease(ctx, relay.LeaseQuery{Lane: name, Now: time.Now()})
		if soon(next, err) {
			return true
		}
	}
	for _, topic := range []relay.Topic{relay.TopicReport, relay.TopicWebhook} {
		_, next, err := r.spool.Claim(ctx, relay.ClaimQuery{Topic: topic, Now: time.Now()})
		if soon(next, err) {
			return true
		}
	}
	stat, err := r.spool.Stat(ctx)
	return err == nil && stat.Leased > 0
}

// surveyTime bounds the look at what is left: whoever stops the relay waits for it.
const surveyTime = time.Second

// survey looks at what is left in the spool, and logs it.
func (r *Relay) survey() {
	ctx, cancel := context.WithTimeout(context.Background(), surveyTime)
	defer cancel()
	left, err := lifecycle.Survey(ctx, r.spool)
	if err != nil {
		r.log.Warn("stopped: what is left in the spool is not known", "err", err)
		return
	}
	left.Log(r.log)
	r.left.Store(&left)
}

// Life is how far the relay has come.
func (r *Relay) Life() *lifecycle.Life { return r.life }

// Left is what a relay whose Run has returned has left in its spool; nil when that is not known.
func (r *Relay) Left() *lifecycle.Left { return r.left.Load() }

// grace is how long what is under way may take to end.
func (r *Relay) grace() time.Duration { return r.cfg.Load().ShutdownGrace }

// heldReports gives up bounces that no server accepts.
func (r *Relay) heldReports() *report.HeldReports {
	return report.NewHeldReports(report.HeldReportsOptions{
		Spool: r.spool, Record: r.record, Log: r.log, Now: time.Now,
		HoldFor: func() time.Duration { return r.cfg.Load().DSN.HoldFor },
	})
}

// outboxes are where webhooks are owed events.
func (r *Relay) outboxes() []relay.Outbox {
	all := []relay.Outbox{r.spool}
	if r.feedback != nil {
		all = append(all, r.feedback.store)
	}
	return all
}

// serveAdmin answers on the control socket. Without it mail flows all the same.
func (r *Relay) serveAdmin(ctx context.Context, works *sync.WaitGroup) {
	fail := func(err error) {
		r.log.Error("no control socket: queue and health commands cannot reach this relay", "err", err)
		r.faults.add(err.Error())
	}
	l, err := admin.Listen(r.cfg.Load().Admin.Socket)
	if err != nil {
		fail(err)
		return
	}
	works.Go(func() {
		if err := r.admin.Serve(ctx, l); err != nil {
			fail(err)
		}
	})
}

// serveMetrics answers Prometheus until ctx ends. Without it mail flows all the same.
func (r *Relay) serveMetrics(ctx context.Context) {
	if r.scraped == nil {
		return
	}
	r.log.Info("listening for Prometheus", "address", r.scraped.Addr().String())
	if err := r.metrics.Serve(ctx, r.scraped, r.log, r.life.Handle); err != nil {
		r.log.Error("no metrics over HTTP", "err", err)
		r.faults.add("no metrics over HTTP: " + err.Error())
	}
}

// Ready is closed when Run serves at every address, the control socket's included.
func (r *Relay) Ready() <-chan struct{} { return r.ready }

// Addrs are the addresses at which mail is taken in, in the order of the configuration.
func (r *Relay) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(r.listeners))
	for i, ln := range r.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// MetricsAddr is where Prometheus is answered; nil when metrics.listen is not set.
func (r *Relay) MetricsAddr() net.Addr {
	if r.scraped == nil {
		return nil
	}
	return r.scraped.Addr()
}

// Busy reports whether there is more than one thing to do: several clients, or mail that waits for a
// connection.
func (r *Relay) Busy() bool { return r.front.Sessions() > 1 || r.lanes.waiting() > 1 }

// Stat counts what the spool holds.
func (r *Relay) Stat(ctx context.Context) (relay.SpoolStat, error) { return r.spool.Stat(ctx) }

// FlushLog returns when the delivery log has handed everything that happened so far to its output.
func (r *Relay) FlushLog() { r.deliveryLog.Flush() }

// control is the relay as the admin room sees it.
type control Relay

var _ admin.Control = (*control)(nil)

// TryNow implements admin.Control.
func (c *control) TryNow() {
	c.lanes.tryNow()
	c.reporter.Kick()
}

// Probe implements admin.Control.
func (c *control) Probe(name string) {
	if h := c.lanes.get(name); h != nil {
		h.lane.Probe()
		h.lane.Kick()
	}
}

// Lanes implements admin.Control.
func (c *control) Lanes() []relay.LaneState { return c.lanes.states() }

// Faults implements admin.Control.
func (c *control) Faults() []string { return c.faults.all() }

// Notes implements admin.Control.
func (c *control) Notes() (notes []string) {
	if notice := c.cfg.Load().Sandbox.Notice(); notice != "" {
		notes = append(notes, notice)
	}
	return notes
}

// faults are the reasons why a running relay does not do all of its work. Safe for concurrent use.
type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, s)
}

func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}
