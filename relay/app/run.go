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

// Run serves until ctx ends or a listener fails, then drains: no mail is taken in, and what is under way is
// finished within the configured grace. It closes the relay.
func (r *Relay) Run(ctx context.Context) error {
	defer r.Close()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var works sync.WaitGroup
	works.Go(func() { r.lanes.run(working, r.grace) })
	r.findAstray() // the routes may have changed since the last run
	works.Go(func() { r.reconsiderRoutes(working) })
	works.Go(func() { r.failover(working) })
	works.Go(func() { r.caps.Run(working, r.log) })
	works.Go(func() { r.reporter.Run(working) })
	works.Go(func() { r.heldReports().Run(working) })
	r.runFeedback(working, &works)
	works.Go(func() { r.webhooks.Run(working, r.outboxes()) })
	r.serveAdmin(working, &works)
	works.Go(func() { r.serveMetrics(working) })
	failed := r.serveDoor(&works)
	r.life.Enter(lifecycle.Running)
	close(r.ready)
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

// drain ends the lanes and the front door side by side, so that both have the whole grace. What the door
// still takes in is in the spool, for the next start. Sessions that wait for a verdict have half of it: after
// that their mail is the spool's.
func (r *Relay) drain(stop context.CancelFunc) {
	r.life.Enter(lifecycle.Draining)
	stop()
	defer time.AfterFunc(r.grace()/2, func() { close(r.hurry) }).Stop()
	grace, cancel := context.WithTimeout(context.Background(), r.grace())
	defer cancel()
	var hooks sync.WaitGroup
	hooks.Go(func() { r.shutdownFeedback(grace) })
	defer hooks.Wait()
	if err := r.front.Shutdown(grace); err != nil {
		r.log.Warn("clients were cut off", "err", err)
	}
}

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
