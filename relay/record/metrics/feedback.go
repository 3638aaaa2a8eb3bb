package metrics

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// feedbackSources are the ways that feedback comes: a webhook, a bounce mail, a complaint by mail.
var feedbackSources = [...]string{"webhook", "dsn", "arf"}

// feedbackResults are what becomes of a report that comes back after the upstream's 250.
var feedbackResults = [...]string{"matched", "unmatched", "duplicate", "unproven", "unreadable"}

// told are the events of what becomes known after the upstream's 250.
var told = [...]relay.EventKind{
	relay.EventRetrying, relay.EventDelivered, relay.EventBounced, relay.EventComplained,
}

// FeedbackState is what is known at a scrape of the feedback that is at work.
type FeedbackState struct {
	Waiting    int64         // reports that are stored and have not had their effect yet
	Due        int64         // of these, to be processed now; the others are tried again later
	Age        time.Duration // since when the first of these is due; 0: none is
	Kept       int64         // reports that can have no effect, for people to look at
	Remembered int64         // relayed messages that feedback could be about
}

// feedback counts what comes back after the upstream's 250. Its series are there only where feedback is on.
type feedback struct {
	total     *prometheus.CounterVec
	delays    *prometheus.HistogramVec
	providers names[string, feedbackProvider]
	observers [len(feedbackSources)]prometheus.Observer
	last      [len(feedbackSources)]atomic.Int64 // Unix seconds
	now       func() time.Time
	state     func() FeedbackState

	lastDesc *prometheus.Desc
	gauges   []gauge[FeedbackState]
}

// feedbackProvider are the counters of one provider.
type feedbackProvider struct {
	f     *feedback
	name  string
	cells [len(feedbackSources)][len(feedbackResults)]cell
}

func newFeedback(state func() FeedbackState, now func() time.Time) *feedback {
	f := &feedback{now: now, state: state}
	f.total = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailwhy_feedback_total",
		Help: "Reports of what became of mail after it was relayed, by source, provider and result."},
		[]string{"source", "provider", "result"})
	f.delays = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mailwhy_feedback_delay_seconds",
		Help:    "From what happened, by the reporter's clock, to its report, for each recipient.",
		Buckets: delayBuckets}, []string{"source"})
	f.lastDesc = prometheus.NewDesc("mailwhy_feedback_last_timestamp_seconds",
		"When a report last came in from the source that could be proved.", []string{"source"}, nil)
	f.gauges = []gauge[FeedbackState]{
		newGauge("mailwhy_feedback_waiting", "Reports that are stored and have not had their effect yet.",
			func(s *FeedbackState) float64 { return float64(s.Waiting) }),
		newGauge("mailwhy_feedback_due", "Reports that are to be processed now.",
			func(s *FeedbackState) float64 { return float64(s.Due) }),
		newGauge("mailwhy_feedback_due_age_seconds",
			"Time for which the oldest report has waited to be processed; 0 when none does.",
			func(s *FeedbackState) float64 { return s.Age.Seconds() }),
		newGauge("mailwhy_feedback_kept", "Reports that can have no effect and are kept to be looked at.",
			func(s *FeedbackState) float64 { return float64(s.Kept) }),
		newGauge("mailwhy_recall_messages", "Relayed messages that are remembered for what comes back.",
			func(s *FeedbackState) float64 { return float64(s.Remembered) }),
	}
	for i, source := range feedbackSources {
		f.observers[i] = f.delays.WithLabelValues(source)
	}
	f.providers.init("other", func(name string) *feedbackProvider {
		p := &feedbackProvider{f: f, name: name}
		for i, source := range feedbackSources {
			if (source == "webhook") == (name == "other") { // a mail has no provider that is known
				continue
			}
			for j := range feedbackResults {
				p.counter(i, j)
			}
		}
		return p
	})
	return f
}

// counter is the counter of a source and a result.
func (p *feedbackProvider) counter(source, result int) prometheus.Counter {
	return p.cells[source][result].get(func() prometheus.Counter {
		return p.f.total.WithLabelValues(feedbackSources[source], p.name, feedbackResults[result])
	})
}

// Describe implements prometheus.Collector.
func (f *feedback) Describe(ch chan<- *prometheus.Desc) {
	f.total.Describe(ch)
	f.delays.Describe(ch)
	ch <- f.lastDesc
	for _, one := range f.gauges {
		ch <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (f *feedback) Collect(ch chan<- prometheus.Metric) {
	f.total.Collect(ch)
	f.delays.Collect(ch)
	for i, source := range feedbackSources {
		if at := f.last[i].Load(); at != 0 {
			ch <- prometheus.MustNewConstMetric(f.lastDesc, prometheus.GaugeValue, float64(at), source)
		}
	}
	s := f.state()
	for _, one := range f.gauges {
		one.send(ch, &s)
	}
}

// Feedback counts a report that came back after the upstream's 250: source is webhook, dsn or arf, result is
// matched, unmatched, duplicate, unproven or unreadable. Where feedback is off, and for any other source or
// result, it does nothing. It allocates nothing and never waits.
func (m *Metrics) Feedback(source, provider, result string) {
	i, j := slices.Index(feedbackSources[:], source), slices.Index(feedbackResults[:], result)
	if m.feedback == nil || i < 0 || j < 0 {
		return
	}
	m.feedback.providers.of(provider).counter(i, j).Inc()
	if result != "unproven" {
		m.feedback.last[i].Store(m.feedback.now().Unix())
	}
}

// observeFeedback measures how late an event was reported, if it rests on feedback that tells a time.
func (m *Metrics) observeFeedback(e *relay.Event) {
	if m.feedback == nil || e.Feedback == nil || e.Tried == nil || e.Tried.Time.IsZero() ||
		e.Tried.Stage != diagnose.StageRemote {
		return
	}
	if i := slices.Index(feedbackSources[:], e.Feedback.Source); i >= 0 {
		observe(m.feedback.observers[i], e.Feedback.ReportedAt.Sub(e.Tried.Time))
	}
}
