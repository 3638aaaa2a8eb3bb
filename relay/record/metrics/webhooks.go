package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwhy/relay"
)

// webhookGauges tell how the webhooks stand to which events are sent. Of one that was removed only what was
// counted is left.
type webhookGauges struct {
	states                    func() []relay.WebhookState
	now                       func() time.Time
	backlog, oldest, disabled *prometheus.Desc
	failing, requests, events *prometheus.Desc
	lost                      *prometheus.Desc
}

func newWebhookGauges(states func() []relay.WebhookState, now func() time.Time) *webhookGauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mailwhy_webhook_"+name, help, append([]string{"webhook"}, labels...), nil)
	}
	return &webhookGauges{
		states: states, now: now,
		backlog:  desc("backlog", "Events that are still to be sent to the webhook."),
		oldest:   desc("oldest_age_seconds", "Age of the oldest event that is still to be sent; 0 for none."),
		failing:  desc("failing", "1 while the webhook fails, and its events wait."),
		disabled: desc("disabled", "1 while the webhook is disabled, until the operator enables it."),
		requests: desc("requests_total", "Requests to the webhook, by result.", "result"),
		events:   desc("events_total", "Events that the webhook took."),
		lost:     desc("lost_total", "Events that are not sent to the webhook any more."),
	}
}

// Describe implements prometheus.Collector.
func (g *webhookGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.backlog, g.oldest, g.failing, g.disabled, g.requests, g.events,
		g.lost} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *webhookGauges) Collect(ch chan<- prometheus.Metric) {
	states := g.states()
	for i := range states {
		s := &states[i]
		if s.State != "" {
			g.collectState(ch, s)
		}
		for j, result := range relay.WebhookResults() {
			ch <- prometheus.MustNewConstMetric(g.requests, prometheus.CounterValue, float64(s.Requests[j]),
				s.Name, result)
		}
		ch <- prometheus.MustNewConstMetric(g.events, prometheus.CounterValue, float64(s.Events), s.Name)
		ch <- prometheus.MustNewConstMetric(g.lost, prometheus.CounterValue, float64(s.Lost), s.Name)
	}
}

// collectState sends how a webhook stands.
func (g *webhookGauges) collectState(ch chan<- prometheus.Metric, s *relay.WebhookState) {
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(0, g.now().Sub(s.Oldest).Seconds())
	}
	is := func(state string) float64 {
		if s.State == state {
			return 1
		}
		return 0
	}
	for _, one := range []struct {
		desc  *prometheus.Desc
		value float64
	}{
		{g.backlog, float64(s.Backlog)}, {g.oldest, age}, {g.failing, is(relay.WebhookFailing)},
		{g.disabled, is(relay.WebhookDisabled)},
	} {
		ch <- prometheus.MustNewConstMetric(one.desc, prometheus.GaugeValue, one.value, s.Name)
	}
}
