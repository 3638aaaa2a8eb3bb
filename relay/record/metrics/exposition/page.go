// Package exposition counts, and writes what was counted in Prometheus's text format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats).
//
// Package metrics makes the families and decides which series there are; this one knows no name. It stands in
// for client_golang, which with protobuf is a tenth of the binary.
//
// What always holds: counting neither allocates nor waits; With returns the same counter for the same labels;
// a page is whole before its first byte is written, with the families in order of their names and the series
// in order of their labels.
package exposition

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is the type of a family, as the format names it.
type Kind string

// The kinds of families.
const (
	CounterKind   Kind = "counter"
	GaugeKind     Kind = "gauge"
	HistogramKind Kind = "histogram"
	SummaryKind   Kind = "summary"
)

// Family is a metric: its name, what it tells, and the names of its labels.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string
}

// NewGauge is a family of figures that are read at each scrape.
func NewGauge(name, help string, labels ...string) *Family {
	return &Family{name, help, GaugeKind, labels}
}

// NewCounter is a family of counts that are kept elsewhere and read at each scrape.
func NewCounter(name, help string, labels ...string) *Family {
	return &Family{name, help, CounterKind, labels}
}

// Collector adds its series to a page, at each scrape. It is safe for concurrent use.
type Collector interface{ Collect(*Page) }

// Page is what one scrape reads. It is for one goroutine.
type Page struct {
	families map[*Family][]series
}

// series are the lines of one set of labels.
type series struct {
	labels []string
	lines  string
}

// Gather reads a page from the collectors.
func Gather(from []Collector) *Page {
	p := &Page{families: map[*Family][]series{}}
	for _, c := range from {
		c.Collect(p)
	}
	return p
}

// Add adds a series of the value and the labels, in the order of the family's.
func (p *Page) Add(f *Family, value float64, labels ...string) {
	var b strings.Builder
	f.line(&b, "", labels, "", value)
	p.put(f, labels, b.String())
}

// AddSummary adds a summary: the sum and number of what was observed, and its quantiles.
func (p *Page) AddSummary(f *Family, sum float64, count uint64, quantiles map[float64]float64) {
	var b strings.Builder
	for _, q := range slices.Sorted(maps.Keys(quantiles)) {
		f.line(&b, "", nil, `quantile="`+number(q)+`"`, quantiles[q])
	}
	f.line(&b, "_sum", nil, "", sum)
	f.line(&b, "_count", nil, "", float64(count))
	p.put(f, nil, b.String())
}

func (p *Page) put(f *Family, labels []string, lines string) {
	p.families[f] = append(p.families[f], series{labels, lines})
}

// WriteTo implements io.WriterTo.
func (p *Page) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	byName := func(f, g *Family) int { return cmp.Compare(f.Name, g.Name) }
	for _, f := range slices.SortedFunc(maps.Keys(p.families), byName) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, helpEscapes.Replace(f.Help), f.Name, f.Kind)
		list := p.families[f]
		slices.SortFunc(list, func(s, t series) int { return slices.Compare(s.labels, t.labels) })
		for _, s := range list {
			b.WriteString(s.lines)
		}
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// line writes a line: the name and its suffix, the labels, one more label if it is not empty, the value.
func (f *Family) line(b *strings.Builder, suffix string, labels []string, more string, value float64) {
	if len(labels) != len(f.Labels) {
		panic(fmt.Sprintf("%s has the labels %q, not values for them: %q", f.Name, f.Labels, labels))
	}
	b.WriteString(f.Name)
	b.WriteString(suffix)
	pairs := make([]string, 0, len(labels)+1)
	for i, value := range labels {
		pairs = append(pairs, f.Labels[i]+`="`+labelEscapes.Replace(strings.ToValidUTF8(value, "\ufffd"))+`"`)
	}
	slices.Sort(pairs) // by name, as others write them: people search for whole lines
	if more != "" {
		pairs = append(pairs, more)
	}
	if len(pairs) > 0 {
		b.WriteString("{" + strings.Join(pairs, ",") + "}")
	}
	b.WriteString(" " + number(value) + "\n")
}

var (
	labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// number is a value as the format has it, whole ones without an exponent.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
