// Package metricstest reads pages of metrics in tests, as Prometheus does.
package metricstest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Page is an exposition: the value of each series, by its name and its labels in order of their names:
// `mailwhy_recipients_total{category="none",event="relayed",upstream="default"}`.
type Page map[string]float64

// Expect compares series of the page with what they should be. Their labels may stand in any order.
func (p Page) Expect(t *testing.T, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if got, there := p[ordered(series)]; !there || got != value {
			t.Errorf("%s is %v (there: %v), want %v", series, got, there, value)
		}
	}
}

// ordered is a series with its labels in order. No value in a test holds what separates labels.
func ordered(series string) string {
	name, labels, ok := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	if !ok {
		return series
	}
	list := strings.Split(labels, `",`)
	for i := range list[:len(list)-1] {
		list[i] += `"`
	}
	slices.Sort(list)
	return name + "{" + strings.Join(list, ",") + "}"
}

// Parse reads a page.
func Parse(text string) (Page, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	p := Page{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			if err := p.add(name, f.GetType(), m); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return p, nil
}

// add adds the series of one metric.
func (p Page) add(name string, kind dto.MetricType, m *dto.Metric) error {
	switch kind {
	case dto.MetricType_COUNTER:
		return p.put(name, m, m.GetCounter().GetValue(), "")
	case dto.MetricType_GAUGE:
		return p.put(name, m, m.GetGauge().GetValue(), "")
	case dto.MetricType_SUMMARY: // of the Go runtime
		return p.put(name+"_count", m, float64(m.GetSummary().GetSampleCount()), "")
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		for _, b := range h.GetBucket() {
			le := strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
			if math.IsInf(b.GetUpperBound(), 1) {
				le = "+Inf"
			}
			if err := p.put(name+"_bucket", m, float64(b.GetCumulativeCount()), le); err != nil {
				return err
			}
		}
		if err := p.put(name+"_sum", m, h.GetSampleSum(), ""); err != nil {
			return err
		}
		return p.put(name+"_count", m, float64(h.GetSampleCount()), "")
	}
	return fmt.Errorf("of the type %s", kind)
}

// put adds one series; a second one of the same labels is an error.
func (p Page) put(name string, m *dto.Metric, value float64, le string) error {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, fmt.Sprintf("%s=%s", l.GetName(), quoted(l.GetValue())))
	}
	if le != "" {
		labels = append(labels, `le="`+le+`"`)
	}
	slices.Sort(labels)
	series := name
	if len(labels) > 0 {
		series += "{" + strings.Join(labels, ",") + "}"
	}
	if _, twice := p[series]; twice {
		return fmt.Errorf("%s is there twice", series)
	}
	p[series] = value
	return nil
}

// quoted is a value as it stands in the text format.
func quoted(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
