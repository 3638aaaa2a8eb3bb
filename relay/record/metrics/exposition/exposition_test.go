package exposition_test

import (
	"strings"
	"sync"
	"testing"

	"mailwhy/relay/record/metrics/exposition"
	"mailwhy/relay/record/metrics/metricstest"
)

// text is the page of the collectors.
func text(from ...exposition.Collector) string {
	var b strings.Builder
	exposition.Gather(from).WriteTo(&b)
	return b.String()
}

// collector is one of a function.
type collector func(*exposition.Page)

func (c collector) Collect(p *exposition.Page) { c(p) }

// TestPage: families and series are in order, labels and help are escaped, and Prometheus reads all numbers.
func TestPage(t *testing.T) {
	counters := exposition.NewCounters("b_total", "Of b,\nof \\.", "who", "why")
	counters.With("z", "").Inc()
	counters.With("a", "\"\\\n}\xff").Inc()
	counters.With("a", "\"\\\n}\xff").Inc()
	counters.With("m", "").Inc()
	sizes := exposition.NewHistograms("c_seconds", "Of c.", []float64{0.25, 1, 604800}, "who")
	for _, v := range []float64{0, 0.25, 0.26, 604800, 604801} {
		sizes.With("a").Observe(v)
	}
	gauge := exposition.NewGauge("a", "Of a.")
	pauses := &exposition.Family{Name: "d", Help: "Of d.", Kind: exposition.SummaryKind}
	got := text(counters, sizes, collector(func(p *exposition.Page) {
		p.Add(gauge, 1234567890.5)
		p.AddSummary(pauses, 1.5, 3, map[float64]float64{1: 1, 0.5: 0.25})
	}))
	const want = `# HELP a Of a.
# TYPE a gauge
a 1.2345678905e+09
# HELP b_total Of b,\nof \\.
# TYPE b_total counter
b_total{who="a",why="\"\\\n}` + "\ufffd" + `"} 2
b_total{who="m",why=""} 1
b_total{who="z",why=""} 1
# HELP c_seconds Of c.
# TYPE c_seconds histogram
c_seconds_bucket{who="a",le="0.25"} 2
c_seconds_bucket{who="a",le="1"} 3
c_seconds_bucket{who="a",le="604800"} 4
c_seconds_bucket{who="a",le="+Inf"} 5
c_seconds_sum{who="a"} 1.20960151e+06
c_seconds_count{who="a"} 5
# HELP d Of d.
# TYPE d summary
d{quantile="0.5"} 0.25
d{quantile="1"} 1
d_sum 1.5
d_count 3
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := metricstest.Families(got); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce: nothing that is counted is lost, whoever counts and reads beside.
func TestManyAtOnce(t *testing.T) {
	counters := exposition.NewCounters("n_total", "N.", "who")
	sizes := exposition.NewHistograms("s_seconds", "S.", []float64{1})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				counters.With("a").Inc()
				sizes.With().Observe(0.5)
			}
			text(counters, sizes)
		})
	}
	all.Wait()
	page, err := metricstest.Parse(text(counters, sizes))
	if err != nil {
		t.Fatal(err)
	}
	page.Expect(t, map[string]float64{
		`n_total{who="a"}`: 4000, `s_seconds_bucket{le="1"}`: 4000,
		"s_seconds_sum": 2000, "s_seconds_count": 4000,
	})
}

// TestWrongLabels: a series with too few labels would be a wrong page, so it is a mistake of the program.
func TestWrongLabels(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	text(collector(func(p *exposition.Page) { p.Add(exposition.NewGauge("a", "A.", "who"), 1) }))
}
