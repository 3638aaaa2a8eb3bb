package metrics

import "testing"

// TestWebhooks: a webhook shows how it stands and what was counted; of one that was removed what was counted
// stays.
func TestWebhooks(t *testing.T) {
	p := read(t, fresh())
	p.Expect(t, map[string]float64{
		`mailwhy_webhook_backlog{webhook="shop"}`:                           3,
		`mailwhy_webhook_oldest_age_seconds{webhook="shop"}`:                3600,
		`mailwhy_webhook_disabled{webhook="shop"}`:                          1,
		`mailwhy_webhook_failing{webhook="shop"}`:                           0,
		`mailwhy_webhook_requests_total{webhook="shop",result="ok"}`:        7,
		`mailwhy_webhook_requests_total{webhook="shop",result="throttled"}`: 1,
		`mailwhy_webhook_events_total{webhook="shop"}`:                      7,
		`mailwhy_webhook_lost_total{webhook="shop"}`:                        2,
		`mailwhy_webhook_lost_total{webhook="crm"}`:                         0,
	})
	if _, there := p[`mailwhy_webhook_backlog{webhook="crm"}`]; there {
		t.Error("a webhook that was removed has a backlog")
	}
}
