package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record/metrics"
	"mailwhy/relay/smtpd"
)

// metricsOptions are the metrics' part. What is read at a scrape need not be there yet.
func (r *relayApp) metricsOptions() metrics.Options {
	return metrics.Options{
		Queue: func(ctx context.Context) (relay.SpoolStat, error) { return r.spool.Stat(ctx) },
		Lanes: r.Lanes,
		Now:   time.Now, Version: version(), GoVersion: runtime.Version(),
	}
}

// version is that of the module, as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// clientNames are the names that a client may have in events.
func clientNames(a smtpd.Access) (names []string) {
	for _, n := range a.Networks {
		names = append(names, n.Name)
	}
	if a.Users != nil {
		names = append(names, a.Users.Names()...)
	}
	return names
}

// reasons are those that a diagnosis may have.
func reasons(e *diagnose.Engine) (ids []diagnose.Reason) {
	for _, info := range e.Reasons() {
		ids = append(ids, info.ID)
	}
	return ids
}

// openMetrics opens the listener at address, if one is wanted.
func (r *relayApp) openMetrics(address string) (err error) {
	if address == "" {
		return nil
	}
	if r.scraped, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	return nil
}

// serveMetrics answers Prometheus until ctx ends. Without it mail flows all the same.
func (r *relayApp) serveMetrics(ctx context.Context) {
	if r.scraped == nil {
		return
	}
	r.log.Info("listening for Prometheus", "address", r.scraped.Addr().String())
	if err := r.metrics.Serve(ctx, r.scraped, r.log); err != nil {
		r.log.Error("no metrics over HTTP", "err", err)
		r.troubles.add("no metrics over HTTP: " + err.Error())
	}
}
