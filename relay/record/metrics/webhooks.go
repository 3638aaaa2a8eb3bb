package metrics

import (
	"time"

	"mailwhy/relay"
	"mailwhy/relay/record/metrics/exposition"
)

// webhookGauges tell how the webhooks stand to which events are sent. Of one that was removed only what was
// counted is left.
type webhookGauges struct {
	states                    func() []relay.WebhookState
	now                       func() time.Time
	backlog, oldest, disabled *exposition.Family
	failing, requests, events *exposition.Family
	lost                      *exposition.Family
}

func newWebhookGauges(states func() []relay.WebhookState, now func() time.Time) *webhookGauges {
	gauge := func(name, help string, labels ...string) *exposition.Family {
		labels = append([]string{"webhook"}, labels...)
		return exposition.NewGauge("mailwhy_webhook_"+name, help, labels...)
	}
	counter := func(name, help string, labels ...string) *exposition.Family {
		f := gauge(name, help, labels...)
		f.Kind = exposition.CounterKind
		return f
	}
	return &webhookGauges{
		states: states, now: now,
		backlog:  gauge("backlog", "Events that are still to be sent to the webhook."),
		oldest:   gauge("oldest_age_seconds", "Age of the oldest event to be sent; 0 for none."),
		failing:  gauge("failing", "1 while the webhook fails, and its events wait."),
		disabled: gauge("disabled", "1 while the webhook is disabled, until the operator enables it."),
		requests: counter("requests_total", "Requests to the webhook, by result.", "result"),
		events:   counter("events_total", "Events that the webhook took."),
		lost:     counter("lost_total", "Events that are not sent to the webhook any more."),
	}
}

// Collect implements exposition.Collector.
func (g *webhookGauges) Collect(p *exposition.Page) {
	states := g.states()
	for i := range states {
		s := &states[i]
		if s.State != "" {
			g.collectState(p, s)
		}
		for j, result := range relay.WebhookResults() {
			p.Add(g.requests, float64(s.Requests[j]),
				s.Name, result)
		}
		p.Add(g.events, float64(s.Events), s.Name)
		p.Add(g.lost, float64(s.Lost), s.Name)
	}
}

// collectState sends how a webhook stands.
func (g *webhookGauges) collectState(p *exposition.Page, s *relay.WebhookState) {
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
		gauge *exposition.Family
		value float64
	}{
		{g.backlog, float64(s.Backlog)}, {g.oldest, age}, {g.failing, is(relay.WebhookFailing)},
		{g.disabled, is(relay.WebhookDisabled)},
	} {
		p.Add(one.gauge, one.value, s.Name)
	}
}
