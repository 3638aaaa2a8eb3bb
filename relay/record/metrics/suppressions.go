package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"mailwhy/relay"
)

// suppressions tell of the suppression list. Its series are there only where it is on.
type suppressions struct {
	state                      func() relay.SuppressionListState
	total                      *prometheus.CounterVec
	suppressed, refused, taken prometheus.Counter
	entries, noted, breaker    *prometheus.Desc
	unavailable                *prometheus.Desc
}

func newSuppressions(state func() relay.SuppressionListState) *suppressions {
	s := &suppressions{state: state}
	s.total = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mailwhy_suppressed_total",
		Help: "Recipients that were suppressed, or in mode observe would have been, by what became of them."},
		[]string{"mode", "result"})
	s.suppressed = s.total.WithLabelValues("enforce", "suppressed")
	s.refused = s.total.WithLabelValues("observe", "refused")
	s.taken = s.total.WithLabelValues("observe", "taken")
	s.entries = prometheus.NewDesc("mailwhy_suppression_entries",
		"Addresses on the suppression list, by reason.", []string{"reason"}, nil)
	s.noted = prometheus.NewDesc("mailwhy_suppression_noted",
		"Addresses that failed and are not suppressed yet, or are on trial.", nil, nil)
	s.breaker = prometheus.NewDesc("mailwhy_suppression_breaker",
		"1 for an upstream that calls nearly every recipient unknown, and is not believed.",
		[]string{"upstream"}, nil)
	s.unavailable = prometheus.NewDesc("mailwhy_suppression_unavailable",
		"1 while the file of the suppression list cannot be used, and mail passes unchecked.", nil, nil)
	return s
}

// Describe implements prometheus.Collector.
func (s *suppressions) Describe(ch chan<- *prometheus.Desc) {
	s.total.Describe(ch)
	for _, d := range []*prometheus.Desc{s.entries, s.noted, s.breaker, s.unavailable} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *suppressions) Collect(ch chan<- prometheus.Metric) {
	s.total.Collect(ch)
	st := s.state()
	send := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for reason, n := range st.Entries {
		send(s.entries, float64(n), string(reason))
	}
	send(s.noted, float64(st.Noted))
	for upstream := range st.Tripped {
		send(s.breaker, 1, upstream)
	}
	unavailable := 0.0
	if st.Fault != nil {
		unavailable = 1
	}
	send(s.unavailable, unavailable)
}

// Suppressed counts a recipient that was suppressed: in mode observe, where it was not, by whether the
// upstream took it.
func (m *Metrics) Suppressed(observed, taken bool) {
	switch {
	case m.suppressions == nil:
	case !observed:
		m.suppressions.suppressed.Inc()
	case taken:
		m.suppressions.taken.Inc()
	default:
		m.suppressions.refused.Inc()
	}
}
