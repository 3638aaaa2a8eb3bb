package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwhy/relay"
)

// statTimeout is how long the spool may take to say what it holds.
const statTimeout = 3 * time.Second

// gauge is one figure of a T, read when it is scraped.
type gauge[T any] struct {
	desc *prometheus.Desc
	of   func(*T) float64
}

func newGauge[T any](name, help string, of func(*T) float64, labels ...string) gauge[T] {
	return gauge[T]{prometheus.NewDesc(name, help, labels, nil), of}
}

// send hands the figure of v to a scrape.
func (g gauge[T]) send(ch chan<- prometheus.Metric, v *T, labels ...string) {
	ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.of(v), labels...)
}

// laneGauges tell how the lanes stand.
type laneGauges struct {
	lanes  func() []relay.LaneState
	gauges []gauge[relay.LaneState]
}

func newLaneGauges(lanes func() []relay.LaneState) *laneGauges {
	return &laneGauges{lanes, []gauge[relay.LaneState]{
		newGauge("mailwhy_lane_paused",
			"1 while nothing is sent to the upstream because it cannot be reached or refuses the account.",
			paused, "upstream"),
		newGauge("mailwhy_lane_connections_limit", "Connections to the upstream at most, now.",
			func(l *relay.LaneState) float64 { return float64(l.Limit) }, "upstream"),
		newGauge("mailwhy_lane_rate_limit", "Messages a second to the upstream at most, now; 0 is no limit.",
			func(l *relay.LaneState) float64 { return l.Rate }, "upstream"),
	}}
}

// Describe implements prometheus.Collector.
func (g *laneGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range g.gauges {
		ch <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (g *laneGauges) Collect(ch chan<- prometheus.Metric) {
	lanes := g.lanes()
	for i := range lanes {
		for _, one := range g.gauges {
			one.send(ch, &lanes[i], lanes[i].Name)
		}
	}
}

// paused is 1 for a lane that is.
func paused(l *relay.LaneState) float64 {
	if l.Paused {
		return 1
	}
	return 0
}

// Spool is what a spool says of itself.
type Spool struct {
	relay.SpoolStat
	Local *relay.LocalStat // nil for one that is not on this host
}

// queueGauges tell what the spool holds.
type queueGauges struct {
	stat   func(context.Context) (Spool, error)
	asking chan struct{} // holds a token while the spool is asked
	gauges []gauge[relay.SpoolStat]
	local  []gauge[relay.LocalStat]
}

func newQueueGauges(stat func(context.Context) (Spool, error), now func() time.Time) *queueGauges {
	age := func(st *relay.SpoolStat) float64 {
		if st.Oldest.IsZero() {
			return 0
		}
		return max(0, now().Sub(st.Oldest).Seconds())
	}
	type stats = relay.SpoolStat
	g := &queueGauges{stat: stat, asking: make(chan struct{}, 1)}
	g.gauges = []gauge[stats]{
		newGauge("mailwhy_queue_messages", "Messages in the spool.",
			func(st *stats) float64 { return float64(st.Messages) }),
		newGauge("mailwhy_queue_bytes", "Bytes of contents in the spool.",
			func(st *stats) float64 { return float64(st.Bytes) }),
		newGauge("mailwhy_queue_oldest_age_seconds",
			"Time since the oldest message in the spool was accepted; 0 when it is empty.", age),
		newGauge("mailwhy_queue_notices",
			"Reports to senders that are due or being collected, one for each recipient.",
			func(st *stats) float64 { return float64(st.Owed) }),
		newGauge("mailwhy_queue_leased", "Messages on their way to the upstream.",
			func(st *stats) float64 { return float64(st.Leased) }),
	}
	g.local = []gauge[relay.LocalStat]{
		newGauge("mailwhy_queue_quarantined", "Damaged messages set aside in the spool.",
			func(st *relay.LocalStat) float64 { return float64(st.Quarantined) }),
		newGauge("mailwhy_spool_free_bytes", "Free bytes on the spool's file system.",
			func(st *relay.LocalStat) float64 { return float64(st.FreeBytes) }),
	}
	return g
}

// Describe implements prometheus.Collector.
func (g *queueGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range g.gauges {
		ch <- one.desc
	}
	for _, one := range g.local {
		ch <- one.desc
	}
}

// Collect implements prometheus.Collector.
func (g *queueGauges) Collect(ch chan<- prometheus.Metric) {
	st, ok := g.ask()
	if !ok {
		return
	}
	for _, one := range g.gauges {
		one.send(ch, &st.SpoolStat)
	}
	for _, one := range g.local {
		if st.Local != nil {
			one.send(ch, st.Local)
		}
	}
}

// ask asks the spool what it holds, and gives up after a while. While an answer is outstanding nobody else
// asks, so that a disk that hangs costs one goroutine, however often it is scraped.
func (g *queueGauges) ask() (Spool, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), statTimeout)
	defer cancel()
	select {
	case g.asking <- struct{}{}:
	case <-ctx.Done():
		return Spool{}, false
	}
	type answer struct {
		st  Spool
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-g.asking }()
		st, err := g.stat(ctx)
		answers <- answer{st, err}
	}()
	select {
	case a := <-answers:
		return a.st, a.err == nil
	case <-ctx.Done():
		return Spool{}, false
	}
}
