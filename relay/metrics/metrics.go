// Package metrics counts what the relay does, for Prometheus: a relay.Recorder that counts each event, gauges that are
// read at each scrape, and the page that shows both (text exposition format, version 0.0.4).
//
// cmd/mailwhy makes one Metrics, records every event to it beside the delivery log, and serves it at GET /metrics: on the
// control socket, and on a listener of its own (Serve) where one is configured. docs/metrics.md lists the series.
//
// What always holds: Record takes no lock, allocates nothing and never waits, and neither does a scraper hold up anything:
// a page is made whole before its first byte is written, and a spool that does not answer costs the page its gauges, not
// the scrape. The number of series is bounded: a client has a configured name or is "unnamed", an upstream and a reason have
// a known name or are "other", and no label ever holds an address, a recipient, a sender or a remote's words. A
// counter that was shown never goes away or back, across a reload too.
//
// The page is written here, without a library. prometheus/client_golang makes an idle relay 2.6 MiB larger, of the 25 MB that a
// whole one may have. VictoriaMetrics/metrics weighs about as much as this room, but leaves escaping, the bound on labels and
// the text of HELP to its user, has TYPE lines by a switch for the whole process only, and locks a histogram for each
// observation: what would be left for it to do is text.go.
package metrics

import (
	"context"
	"slices"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Options are what a Metrics is made of. All are required.
type Options struct {
	Upstreams []string // the configured names
	Queue     func(context.Context) (relay.SpoolStat, error)
	Lanes     func() []relay.LaneState
	Now       func() time.Time // wall clock
	Started   time.Time
	Version   string // of mailwhy
	GoVersion string
}

// Metrics are the counters of one relay. Its methods are safe for concurrent use.
type Metrics struct {
	o         Options
	asking    chan struct{} // holds a token while the queue is asked
	clients   table[string, client]
	upstreams table[string, upstream]
	reports   [len(reportKinds)]counter
}

var _ relay.Recorder = (*Metrics)(nil)

// client is what is counted for a client.
type client struct{ messages, recipients, refused counter }

// upstream is what is counted for an upstream.
type upstream struct {
	recipients [len(outcomes)][len(categories)]counter
	reasons    table[diagnose.Reason, [len(outcomes)]counter]
	lane       [len(laneStates)]counter
	attempts   histogram
	delays     histogram
}

// outcomes are the events that say what became of a recipient.
var outcomes = [...]relay.EventKind{
	relay.EventRelayed, relay.EventDeferred, relay.EventFailed, relay.EventExpired, relay.EventHeld, relay.EventReleased,
	relay.EventSuppressed, relay.EventDropped, relay.EventQuarantined,
}

// diagnosed reports whether events of a kind always carry a diagnosis.
func diagnosed(k relay.EventKind) bool {
	return k == relay.EventDeferred || k == relay.EventFailed || k == relay.EventExpired
}

// noCategory is the category of what has no diagnosis.
const noCategory diagnose.Category = "none"

// categories are the guide's, our own, and first the one that stands for none.
var categories = [...]diagnose.Category{
	noCategory, diagnose.Blocked, diagnose.DMARCErrors, diagnose.InvalidAddress, diagnose.MailboxIssues, diagnose.MailboxFull,
	diagnose.RateLimitIssues, diagnose.RecipientError, diagnose.RejectionErrors, diagnose.SenderReputation, diagnose.ConnectionFailure,
}

// reportKinds are the kinds of reports to a sender.
var reportKinds = [...]relay.NoticeKind{relay.NoticeFailed, relay.NoticeDelayed, relay.NoticeRelayed}

// laneStates are the states in lane events.
var laneStates = [...]string{"paused", "resumed", "slowed", "refused"}

// The buckets of the histograms: an attempt takes milliseconds on a local network and minutes at a server that tarpits; a
// message passes at once or waits out a retry schedule of days.
var (
	attemptBuckets = []time.Duration{
		time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
		5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
	}
	delayBuckets = []time.Duration{
		10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second,
		5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour,
		12 * time.Hour, 24 * time.Hour, 5 * 24 * time.Hour,
	}
)

// New makes a Metrics that knows no client and no reason yet.
func New(o Options) *Metrics {
	m := &Metrics{o: o, asking: make(chan struct{}, 1)}
	m.clients.init("unnamed", nil)
	m.upstreams.init("other", func(u *upstream) {
		u.reasons.init("other", nil)
		u.attempts.init(attemptBuckets)
		u.delays.init(delayBuckets)
	})
	m.upstreams.know(o.Upstreams)
	return m
}

// Know adds names of clients and reasons that have series of their own. What was known before stays known: a counter that goes
// away would spoil a rate.
func (m *Metrics) Know(clients []string, reasons []diagnose.Reason) {
	m.clients.know(clients)
	m.upstreams.each(func(_ string, u *upstream) { u.reasons.know(reasons) })
}

// Record implements relay.Recorder.
func (m *Metrics) Record(e relay.Event) {
	switch e.Kind {
	case relay.EventAccepted:
		c := m.clients.of(e.Client)
		c.recipients.Add(1)
		if e.First {
			c.messages.Add(1)
		}
	case relay.EventRefused:
		m.clients.of(e.Client).refused.Add(1)
	case relay.EventDSN:
		if i := slices.Index(reportKinds[:], e.DSNKind); i >= 0 && e.First {
			m.reports[i].Add(1)
		}
	case relay.EventLane:
		if i := slices.Index(laneStates[:], e.State); i >= 0 {
			m.upstreams.of(e.Lane).lane[i].Add(1)
		}
	default:
		if i := slices.Index(outcomes[:], e.Kind); i >= 0 {
			m.upstreams.of(e.Lane).outcome(i, &e)
		}
	}
}

// outcome counts what became of a recipient; kind is an index into outcomes.
func (u *upstream) outcome(kind int, e *relay.Event) {
	category := 0
	if d := e.Diagnosis; d != nil {
		category = max(0, slices.Index(categories[:], d.Category))
		u.reasons.of(d.Reason)[kind].Add(1)
	}
	u.recipients[kind][category].Add(1)
	if e.Kind == relay.EventRelayed {
		u.delays.observe(e.Delay)
	}
	if e.Tried != nil && tried(e) {
		u.attempts.observe(e.Tried.Duration)
	}
}

// tried reports whether the event's attempt has just been made. Mail that is given up while its lane is paused carries an
// older one, and what could not be read here was never offered.
func tried(e *relay.Event) bool {
	return e.Kind != relay.EventExpired && e.Tried.Stage != diagnose.StageQueue
}
