package metrics

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// documented are the metrics of the tables in docs/metrics.md and their labels, by the heading above the
// table.
func documented(t *testing.T) map[string]map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile("`([a-z_]+)`")
	words := func(cell string) (list []string) {
		for _, m := range word.FindAllStringSubmatch(cell, -1) {
			list = append(list, m[1])
		}
		return list
	}
	found := map[string]map[string][]string{}
	heading := ""
	for line := range strings.Lines(string(b)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading = strings.TrimSpace(title)
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, name := range words(cells[1]) {
			if strings.HasPrefix(name, "mailwhy_") {
				if found[heading] == nil {
					found[heading] = map[string][]string{}
				}
				found[heading][name] = slices.Sorted(slices.Values(words(cells[2])))
			}
		}
	}
	return found
}

// labels are the names of the labels of a family, less the bound of a histogram's bucket.
func labels(f *dto.MetricFamily) []string {
	names := []string{}
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, l.GetName())
	}
	return slices.Sorted(slices.Values(names))
}

// TestMetricsAreDocumented compares the tables of docs/metrics.md with the registry: names, types and labels.
func TestMetricsAreDocumented(t *testing.T) {
	m := fresh("shop")
	m.Record(mailboxFull("failed")) // so that every family has a series
	m.Feedback("webhook", "ses", "matched")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	headings := map[dto.MetricType]string{
		dto.MetricType_COUNTER: "Counters", dto.MetricType_GAUGE: "Gauges",
		dto.MetricType_HISTOGRAM: "Histograms",
	}
	want := map[string]map[string][]string{"Counters": {}, "Gauges": {}, "Histograms": {}}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "mailwhy_") {
			want[headings[f.GetType()]][f.GetName()] = labels(f)
		}
	}
	got := documented(t)
	for heading, metrics := range want {
		for _, name := range slices.Sorted(maps.Keys(metrics)) {
			if documented, ok := got[heading][name]; !ok || !slices.Equal(documented, metrics[name]) {
				t.Errorf("%s, of the labels %q, is documented with %q (under %s: %v)", name, metrics[name],
					documented, heading, ok)
			}
		}
		for name := range got[heading] {
			if _, ok := metrics[name]; !ok {
				t.Errorf("there is no %s, which is documented under %s", name, heading)
			}
		}
	}
}

// TestUpstreamKnownLater: an upstream that a reload adds counts the reasons that were known before it.
func TestUpstreamKnownLater(t *testing.T) {
	m := fresh()
	m.Know(Names{Upstreams: []string{"second"}})
	e := mailboxFull("failed")
	e.Lane = "second"
	m.Record(e)
	read(t, m).Expect(t, map[string]float64{
		`mailwhy_recipient_reasons_total{event="failed",upstream="second",reason="mailbox_full"}`: 1,
		`mailwhy_lane_events_total{upstream="second",state="paused"}`:                             0,
	})
}
