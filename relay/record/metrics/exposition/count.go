package exposition

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Counter counts from 0 up. It is safe for concurrent use, as all that counts.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Counters are a family of counters.
type Counters struct {
	family Family
	vector[Counter]
}

// NewCounters makes a family without a series.
func NewCounters(name, help string, labels ...string) *Counters {
	c := &Counters{family: Family{name, help, CounterKind, labels}}
	c.made = func() *Counter { return &Counter{} }
	return c
}

// Collect implements Collector.
func (c *Counters) Collect(p *Page) {
	c.each(func(labels []string, one *Counter) { p.Add(&c.family, float64(one.n.Load()), labels...) })
}

// Histogram counts what it observes by size.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // of what is at most the bound; the last of what is larger than all
	sum    atomic.Uint64   // the bits of a float64
}

// Observe counts v.
func (h *Histogram) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Histograms are a family of histograms with the same bounds.
type Histograms struct {
	family Family
	vector[Histogram]
}

// NewHistograms makes a family without a series. The bounds ascend.
func NewHistograms(name, help string, bounds []float64, labels ...string) *Histograms {
	h := &Histograms{family: Family{name, help, HistogramKind, labels}}
	h.made = func() *Histogram {
		return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	}
	return h
}

// Collect implements Collector.
func (h *Histograms) Collect(p *Page) {
	h.each(func(labels []string, one *Histogram) {
		var b strings.Builder
		var n uint64
		for i := range one.counts {
			bound := math.Inf(1)
			if i < len(one.bounds) {
				bound = one.bounds[i]
			}
			n += one.counts[i].Load()
			h.family.line(&b, "_bucket", labels, `le="`+number(bound)+`"`, float64(n))
		}
		h.family.line(&b, "_sum", labels, "", math.Float64frombits(one.sum.Load()))
		h.family.line(&b, "_count", labels, "", float64(n))
		p.put(&h.family, labels, b.String())
	})
}

// vector holds what was made for each set of labels.
type vector[T any] struct {
	made func() *T

	mu  sync.Mutex
	all map[string]labelled[T] // by the labels, joined
}

type labelled[T any] struct {
	labels []string
	one    *T
}

// With is what counts for the labels' values, in the order of the family's labels. Its series is there from
// the first call.
func (v *vector[T]) With(labels ...string) *T {
	key := strings.Join(labels, "\xff") // no byte of UTF-8
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.all[key]
	if !ok {
		if v.all == nil {
			v.all = map[string]labelled[T]{}
		}
		l = labelled[T]{slices.Clone(labels), v.made()}
		v.all[key] = l
	}
	return l.one
}

// each calls f for all that was made.
func (v *vector[T]) each(f func([]string, *T)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.all {
		f(l.labels, l.one)
	}
}
