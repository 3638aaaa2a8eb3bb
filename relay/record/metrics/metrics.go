// Package metrics counts what the relay does, for Prometheus: a relay.Recorder that counts each event, and
// gauges that are read at each scrape. Counting, registry and format are client_golang's; this room decides
// what is counted under which names, and keeps the number of series bounded.
//
// relay/app makes one Metrics, records every event to it beside the delivery log, and serves it at GET
// /metrics: on the control socket, and on a listener of its own (Serve) where one is configured.
// docs/metrics.md lists the series, and a test compares it with the registry.
//
// What always holds: Record allocates nothing and never waits, and a scraper does not hold up anything: a
// page is gathered before its first byte is written, and a spool that does not answer costs the page its
// gauges, not the scrape. The number of series is bounded: a client has a configured name or is "unnamed",
// an upstream and a reason have a known name or are "other", and no label ever holds an address, a
// recipient, a sender or a remote's words. A counter that was shown never goes away or back, across a
// reload too.
package metrics

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Options are what a Metrics is made of. All but Feedback, Webhooks and Suppressions are required.
type Options struct {
	Queue     func(context.Context) (Spool, error)
	Lanes     func() []relay.LaneState
	Logins    func() []Login
	Now       func() time.Time // wall clock
	Version   string           // of mailwhy
	GoVersion string

	// Feedback is how the work on feedback stands; nil when feedback is off.
	Feedback func() FeedbackState
	// Webhooks are how those stand to which events are sent, and those that were removed, without a State.
	Webhooks func() []relay.WebhookState
	// Suppressions is how the suppression list stands; nil when it is off.
	Suppressions func() relay.SuppressionListState
}

// Metrics are the counters of one relay. Its methods are safe for concurrent use.
type Metrics struct {
	series       *series
	clients      names[string, client]
	upstreams    names[string, upstream]
	refusals     names[diagnose.Reason, refusals]
	reports      [len(reportKinds)]prometheus.Counter
	feedback     *feedback     // nil when it is off
	suppressions *suppressions // nil when it is off
	registry     *prometheus.Registry
	page         http.Handler

	mu      sync.Mutex        // held by Know
	reasons []diagnose.Reason // all that were ever known
}

var _ relay.Recorder = (*Metrics)(nil)

// New makes a Metrics that knows no names yet.
func New(o Options) *Metrics {
	m := &Metrics{series: newSeries(o.Feedback != nil), registry: prometheus.NewRegistry()}
	m.clients.init("unnamed", m.series.client)
	m.upstreams.init("other", m.series.upstream)
	m.refusals.init("other", m.series.refusalsFor)
	for i, kind := range reportKinds {
		m.reports[i] = m.series.bounces.WithLabelValues(string(kind))
	}
	m.registry.MustRegister(m.series.all()...)
	m.registry.MustRegister(newLaneGauges(o.Lanes), newLoginGauges(o.Logins, o.Now),
		newQueueGauges(o.Queue, o.Now), buildInfo(&o))
	if o.Webhooks != nil {
		m.registry.MustRegister(newWebhookGauges(o.Webhooks, o.Now))
	}
	if o.Feedback != nil {
		m.feedback = newFeedback(o.Feedback, o.Now)
		m.registry.MustRegister(m.feedback)
	}
	if o.Suppressions != nil {
		m.suppressions = newSuppressions(o.Suppressions)
		m.registry.MustRegister(m.suppressions)
	}
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
	return m
}

// buildInfo is the gauge that tells which mailwhy this is.
func buildInfo(o *Options) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mailwhy_build_info", Help: "Which mailwhy this is; always 1.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": o.GoVersion},
	}, func() float64 { return 1 })
}

// Names are those that have series of their own.
type Names struct {
	Upstreams []string
	Clients   []string
	Reasons   []diagnose.Reason // that upstreams' refusals may have
	Refusals  []diagnose.Reason // that those of the front door may have
	Providers []string          // whose webhooks are configured
}

// Know adds names. What was known before stays known: a counter that goes away would spoil a rate.
func (m *Metrics) Know(n Names) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reasons = append(m.reasons, n.Reasons...)
	slices.Sort(m.reasons)
	m.reasons = slices.Compact(m.reasons)
	m.clients.know(n.Clients)
	m.upstreams.know(n.Upstreams)
	m.refusals.know(n.Refusals)
	if m.feedback != nil {
		m.feedback.providers.know(n.Providers)
	}
	m.upstreams.each(func(u *upstream) { u.reasons.know(m.reasons) })
}

// Record implements relay.Recorder.
func (m *Metrics) Record(e relay.Event) {
	switch e.Kind {
	case relay.EventAccepted:
		c := m.clients.of(e.Client)
		c.recipients.Inc()
		if e.First {
			c.messages.Inc()
		}
	case relay.EventRefused:
		if e.First {
			m.clients.of(e.Client).refused.Inc()
			if e.Diagnosis != nil {
				m.refusals.of(e.Diagnosis.Reason).Inc()
			}
		}
	case relay.EventDSN:
		if i := slices.Index(reportKinds[:], e.DSNKind); i >= 0 && e.First {
			m.reports[i].Inc()
		}
	case relay.EventLane:
		if i := slices.Index(laneStates[:], e.State); i >= 0 {
			m.upstreams.of(e.Lane).changed(i)
		}
	default:
		if i := slices.Index(outcomes[:], e.Kind); i >= 0 {
			m.upstreams.of(e.Lane).outcome(i, &e)
			m.observeFeedback(&e)
		}
	}
}

// outcome counts what became of a recipient; kind is an index into outcomes.
func (u *upstream) outcome(kind int, e *relay.Event) {
	category := 0
	if d := e.Diagnosis; d != nil {
		category = max(0, slices.Index(categories[:], d.Category))
		u.reasons.of(d.Reason).count(kind)
	}
	u.count(kind, category)
	if e.Kind == relay.EventRelayed {
		observe(u.delays, e.Delay)
	}
	if e.Tried != nil && tried(e) {
		observe(u.attempts, e.Tried.Duration)
	}
}

// observe counts d. A clock that was set back makes a negative one, which counts as none.
func observe(h prometheus.Observer, d time.Duration) { h.Observe(max(d, 0).Seconds()) }

// tried reports whether the event's attempt has just been made. Mail that is given up while its lane is
// paused carries an older one, what could not be read here was never offered, and of what is told later the
// attempt is the upstream's.
func tried(e *relay.Event) bool {
	return e.Kind != relay.EventExpired && e.Tried.Stage != diagnose.StageQueue &&
		e.Tried.Stage != diagnose.StageRemote
}
