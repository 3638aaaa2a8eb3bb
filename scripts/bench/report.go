package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// results are all measurements, by case and relay.
type results map[[2]string][]measurement

// add takes one in.
func (rs results) add(name, relay string, m measurement) {
	key := [2]string{name, relay}
	rs[key] = append(rs[key], m)
}

// fsyncs notes what was counted for a relay.
func (rs results) fsyncs(relay string, n float64) { rs.add("", relay, measurement{fsyncs: n}) }

// median is the middle of one figure over all rounds; 0 when there is none.
func (rs results) median(name, relay string, figure func(measurement) float64) float64 {
	var all []float64
	for _, m := range rs[[2]string{name, relay}] {
		all = append(all, figure(m))
	}
	slices.Sort(all)
	switch n := len(all); {
	case n == 0:
		return 0
	case n%2 == 0:
		return (all[n/2-1] + all[n/2]) / 2
	default:
		return all[n/2]
	}
}

// print writes the medians as a Markdown table, with each relay's ratio to Postfix.
func (rs results) print(w io.Writer, cases []testCase, relays []relay) {
	fmt.Fprintf(
		w,
		"\nMedians. The ratio is that of the rates, to Postfix. "+
			"Latency is from MAIL to the reply to the content.\n\n",
	)
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(
		t,
		"| case\t| relay\t| msg/s\t| ratio\t| p50 ms\t| p99 ms\t| CPU s/1000\t| CPU ratio"+
			"\t| RSS MB idle\t| RSS MB peak\t| rounds\t|",
	)
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	rate := func(m measurement) float64 { return m.rate }
	cpu := func(m measurement) float64 { return m.cpu }
	for _, c := range cases {
		for _, r := range relays {
			n := len(rs[[2]string{c.name, r.name()}])
			if n == 0 {
				continue
			}
			med := func(f func(measurement) float64) float64 { return rs.median(c.name, r.name(), f) }
			fmt.Fprintf(t,
				"| %s\t| %s\t| %.0f\t| %s\t| %.2f\t| %.2f\t| %.3f\t| %s\t| %.1f\t| %.1f\t| %d\t|\n", c.name,
				r.name(), med(rate),
				ratio(med(rate), rs.median(c.name, "postfix", rate)),
				med(func(m measurement) float64 { return ms(m.p50) }),
				med(func(m measurement) float64 { return ms(m.p99) }),
				med(cpu),
				ratio(med(cpu), rs.median(c.name, "postfix", cpu)),
				med(func(m measurement) float64 { return mb(m.idle) }),
				med(func(m measurement) float64 { return mb(m.peak) }),
				n,
			)
		}
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, c := range cases {
		fmt.Fprintf(w, "%s: %s\n", c.name, c.about)
	}
	for _, r := range relays {
		if n := rs.median("", r.name(), func(m measurement) float64 { return m.fsyncs }); n > 0 {
			fmt.Fprintf(w, "%s: %.2f fsyncs a message at 10 sessions of 4 KiB\n", r.name(), n)
		}
	}
	fmt.Fprintln(w, "Every run was exactly once.")
}

// ratio is a / b in words, or nothing where there is no b.
func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}
