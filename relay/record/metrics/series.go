package metrics

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// outcomes are the events that say what became of a recipient.
var outcomes = [...]relay.EventKind{
	relay.EventRelayed, relay.EventDeferred, relay.EventFailed, relay.EventExpired, relay.EventHeld,
	relay.EventReleased, relay.EventMoved,
	relay.EventSuppressed, relay.EventDropped, relay.EventQuarantined,
	relay.EventRetrying, relay.EventDelivered, relay.EventBounced, relay.EventComplained,
}

// diagnosed reports whether events of a kind always carry a diagnosis.
func diagnosed(k relay.EventKind) bool {
	return k == relay.EventDeferred || k == relay.EventFailed || k == relay.EventExpired ||
		k == relay.EventSuppressed || k == relay.EventRetrying || k == relay.EventBounced ||
		k == relay.EventComplained
}

// noCategory is the category of what has no diagnosis.
const noCategory diagnose.Category = "none"

// categories are the guide's, our own, and first the one that stands for none.
var categories = [...]diagnose.Category{
	noCategory, diagnose.Blocked, diagnose.DMARCErrors, diagnose.InvalidAddress, diagnose.MailboxIssues,
	diagnose.MailboxFull, diagnose.RateLimitIssues, diagnose.RecipientError, diagnose.RejectionErrors,
	diagnose.SenderReputation, diagnose.ConnectionFailure,
}

// reportKinds are the kinds of reports to a sender.
var reportKinds = [...]relay.NoticeKind{relay.NoticeFailed, relay.NoticeDelayed, relay.NoticeRelayed}

// laneStates are the states in lane events.
var laneStates = [...]string{"paused", "resumed", "slowed", "refused"}

// The buckets of the histograms, in seconds: an attempt takes milliseconds on a local network and minutes
// at a server that tarpits; a message passes at once or waits out a retry schedule of days.
var (
	attemptBuckets = seconds(
		time.Millisecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
		100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second, 2500*time.Millisecond,
		5*time.Second, 10*time.Second, 30*time.Second, time.Minute, 5*time.Minute,
	)
	delayBuckets = seconds(
		10*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond, time.Second,
		5*time.Second, 15*time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour, 4*time.Hour,
		12*time.Hour, 24*time.Hour, 5*24*time.Hour,
	)
)

func seconds(ds ...time.Duration) (s []float64) {
	for _, d := range ds {
		s = append(s, d.Seconds())
	}
	return s
}

// series are the families of everything that is counted.
type series struct {
	messages, recipients, refused     *prometheus.CounterVec
	outcomes, reasons, bounces, lanes *prometheus.CounterVec
	attempts, delays                  *prometheus.HistogramVec
	refusals                          *prometheus.CounterVec

	feedback bool // it is on
}

func newSeries(feedback bool) *series {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		o := prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
		return prometheus.NewHistogramVec(o, []string{"upstream"})
	}
	return &series{
		feedback: feedback,
		messages: counter("mailwhy_messages_accepted_total", "Messages accepted, by client.", "client"),
		recipients: counter("mailwhy_recipients_accepted_total",
			"Recipients of accepted messages, by client.", "client"),
		refused:  counter("mailwhy_refused_total", "Refusals at the front door, by client.", "client"),
		refusals: counter("mailwhy_refused_reasons_total", "The same, by reason.", "reason"),
		outcomes: counter("mailwhy_recipients_total",
			"What became of recipients, by event, upstream and category; "+
				"a deferred one is counted at each attempt.",
			"event", "upstream", "category"),
		reasons: counter("mailwhy_recipient_reasons_total",
			"The same, of those with a diagnosis, by its reason.",
			"event", "upstream", "reason"),
		bounces: counter("mailwhy_bounces_total",
			"Delivery status notifications made, by kind: failed, delayed, relayed.", "kind"),
		lanes: counter("mailwhy_lane_events_total",
			"Changes of the lane that the delivery log tells of, by state.", "upstream", "state"),
		attempts: histogram("mailwhy_attempt_duration_seconds",
			"How long an attempt took, for each recipient.", attemptBuckets),
		delays: histogram("mailwhy_message_delay_seconds",
			"From accepting a message to its being relayed, for each recipient.", delayBuckets),
	}
}

// all are the families, for a registry.
func (s *series) all() []prometheus.Collector {
	return []prometheus.Collector{
		s.messages, s.recipients, s.refused, s.outcomes, s.reasons, s.bounces, s.lanes, s.attempts, s.delays,
		s.refusals,
	}
}

// refusals is what is counted for a reason of the front door's refusals.
type refusals struct{ prometheus.Counter }

func (s *series) refusalsFor(reason diagnose.Reason) *refusals {
	return &refusals{s.refusals.WithLabelValues(string(reason))}
}

// client is what is counted for a client.
type client struct{ messages, recipients, refused prometheus.Counter }

func (s *series) client(name string) *client {
	return &client{
		messages: s.messages.WithLabelValues(name), recipients: s.recipients.WithLabelValues(name),
		refused: s.refused.WithLabelValues(name),
	}
}

// upstream is what is counted for an upstream. The series of what always has a diagnosis are there from the
// start for every category, of the rest the one of none, and no series for an upstream that is not
// configured. Those of what is told after the upstream's 250 are there from the start where feedback is on.
type upstream struct {
	s        *series
	name     string
	cells    [len(outcomes)][len(categories)]cell
	lane     [len(laneStates)]cell
	reasons  names[diagnose.Reason, reasonCells]
	attempts prometheus.Observer
	delays   prometheus.Observer
}

func (s *series) upstream(name string) *upstream {
	u := &upstream{s: s, name: name, attempts: unseen{}, delays: unseen{}}
	u.reasons.init("other", func(r diagnose.Reason) *reasonCells { return &reasonCells{u: u, reason: r} })
	if name == "other" {
		return u
	}
	u.attempts, u.delays = s.attempts.WithLabelValues(name), s.delays.WithLabelValues(name)
	for i := range laneStates {
		u.lane[i].get(func() prometheus.Counter { return u.newLane(i) })
	}
	for i, kind := range outcomes {
		if slices.Contains(told[:], kind) && !s.feedback {
			continue
		}
		for j, category := range categories {
			if diagnosed(kind) == (category != noCategory) {
				u.cells[i][j].get(func() prometheus.Counter { return u.newOutcome(i, j) })
			}
		}
	}
	return u
}

// unseen is the histogram of upstreams that are not configured: none.
type unseen struct{}

func (unseen) Observe(float64) {}

func (u *upstream) count(outcome, category int) {
	u.cells[outcome][category].get(func() prometheus.Counter { return u.newOutcome(outcome, category) }).Inc()
}

func (u *upstream) newOutcome(outcome, category int) prometheus.Counter {
	return u.s.outcomes.WithLabelValues(string(outcomes[outcome]), u.name, string(categories[category]))
}

func (u *upstream) changed(state int) {
	u.lane[state].get(func() prometheus.Counter { return u.newLane(state) }).Inc()
}

func (u *upstream) newLane(state int) prometheus.Counter {
	return u.s.lanes.WithLabelValues(u.name, laneStates[state])
}

// reasonCells are the counters of one reason at one upstream.
type reasonCells struct {
	u      *upstream
	reason diagnose.Reason
	cells  [len(outcomes)]cell
}

func (r *reasonCells) count(outcome int) {
	r.cells[outcome].get(func() prometheus.Counter {
		return r.u.s.reasons.WithLabelValues(string(outcomes[outcome]), r.u.name, string(r.reason))
	}).Inc()
}

// cell is a counter whose series appears when it is first asked for. Once it is there, asking allocates
// nothing.
type cell struct {
	made atomic.Pointer[prometheus.Counter]
}

// get is the counter; make makes it, the same one at each call.
func (c *cell) get(make func() prometheus.Counter) prometheus.Counter {
	if made := c.made.Load(); made != nil {
		return *made
	}
	n := make()
	c.made.Store(&n)
	return n
}
