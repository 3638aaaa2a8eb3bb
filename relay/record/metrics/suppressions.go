package metrics

import (
	"mailwhy/relay"
	"mailwhy/relay/record/metrics/exposition"
)

// suppressions tell of the suppression list. Its series are there only where it is on.
type suppressions struct {
	state                      func() relay.SuppressionListState
	total                      *exposition.Counters
	suppressed, refused, taken *exposition.Counter
	entries, noted, breaker    *exposition.Family
	unavailable                *exposition.Family
}

func newSuppressions(state func() relay.SuppressionListState) *suppressions {
	s := &suppressions{state: state}
	s.total = exposition.NewCounters("mailwhy_suppressed_total",
		"Recipients that were suppressed, or in mode observe would have been, by what became of them.",
		"mode", "result")
	s.suppressed = s.total.With("enforce", "suppressed")
	s.refused = s.total.With("observe", "refused")
	s.taken = s.total.With("observe", "taken")
	s.entries = exposition.NewGauge("mailwhy_suppression_entries",
		"Addresses on the suppression list, by reason.", "reason")
	s.noted = exposition.NewGauge("mailwhy_suppression_noted",
		"Addresses that failed and are not suppressed yet, or are on trial.")
	s.breaker = exposition.NewGauge("mailwhy_suppression_breaker",
		"1 for an upstream that calls nearly every recipient unknown, and is not believed.",
		"upstream")
	s.unavailable = exposition.NewGauge("mailwhy_suppression_unavailable",
		"1 while the file of the suppression list cannot be used, and mail passes unchecked.")
	return s
}

// Collect implements exposition.Collector.
func (s *suppressions) Collect(p *exposition.Page) {
	s.total.Collect(p)
	st := s.state()
	send := func(d *exposition.Family, n float64, labels ...string) {
		p.Add(d, n, labels...)
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
