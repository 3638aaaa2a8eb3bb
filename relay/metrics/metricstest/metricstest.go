// Package metricstest reads pages of metrics in tests, and takes nothing that a strict scraper would not: it is the judge
// of what relay/metrics writes, and shares no code with it.
package metricstest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Page is an exposition: the value of each series, by its name and labels as they are written:
// `mailwhy_bounces_total{kind="failed"}`.
type Page map[string]float64

// Expect compares series of the page with what they should be.
func (p Page) Expect(t *testing.T, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if got, there := p[series]; !there || got != value {
			t.Errorf("%s is %v (there: %v), want %v", series, got, there, value)
		}
	}
}

// The parts of the text format.
var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sample  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$`)
	label   = regexp.MustCompile(`^[{,]([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"`)
)

// family is the one whose lines are being read.
type family struct {
	name, kind string
	buckets    map[string]float64 // the last bucket of a histogram, by its other labels
	bounds     map[string]float64
}

// Parse reads a page.
func Parse(text string) (Page, error) {
	if !strings.HasSuffix(text, "\n") || !utf8.ValidString(text) {
		return nil, fmt.Errorf("the page does not end its last line, or is no UTF-8")
	}
	p, seen, f := Page{}, map[string]bool{}, &family{}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if err := p.line(line, f, seen); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	return p, nil
}

// line takes one line in: the HELP of a new family, its TYPE, or a sample of it.
func (p Page) line(line string, f *family, seen map[string]bool) error {
	if m := comment.FindStringSubmatch(line); m != nil {
		switch {
		case m[1] == "HELP" && seen[m[2]]:
			return fmt.Errorf("the family is there twice")
		case m[1] == "HELP":
			seen[m[2]] = true
			*f = family{name: m[2], buckets: map[string]float64{}, bounds: map[string]float64{}}
			return nil
		case m[2] != f.name || f.kind != "":
			return fmt.Errorf("TYPE follows no HELP")
		case m[3] != "counter" && m[3] != "gauge" && m[3] != "histogram":
			return fmt.Errorf("unknown type")
		case (m[3] == "counter") != strings.HasSuffix(f.name, "_total"):
			return fmt.Errorf("_total is for counters, and for all of them")
		}
		f.kind = m[3]
		return nil
	}
	m := sample.FindStringSubmatch(line)
	if m == nil || f.kind == "" {
		return fmt.Errorf("no sample of a family")
	}
	value, err := strconv.ParseFloat(m[3], 64)
	if _, twice := p[m[1]+m[2]]; err != nil || twice {
		return fmt.Errorf("no value, or the series is there twice")
	}
	p[m[1]+m[2]] = value
	return f.check(m[1], m[2], value)
}

// check checks one sample against its family.
func (f *family) check(name, labels string, value float64) error {
	names, others, le := map[string]bool{}, "", ""
	for rest := labels; rest != "" && rest != "}"; {
		m := label.FindStringSubmatch(rest)
		if m == nil || names[m[1]] || (rest[0] == '{') != (len(names) == 0) {
			return fmt.Errorf("labels")
		}
		names[m[1]] = true
		if m[1] == "le" {
			le = m[2]
		} else {
			others += strings.TrimLeft(m[0], "{,") + ","
		}
		rest = rest[len(m[0]):]
	}
	if f.kind != "histogram" {
		if name != f.name || le != "" || f.kind == "counter" && value < 0 {
			return fmt.Errorf("not of the family %s", f.name)
		}
		return nil
	}
	return f.checkHistogram(strings.TrimPrefix(name, f.name), others, le, value)
}

// checkHistogram checks that buckets ascend to +Inf, and that the count is the last.
func (f *family) checkHistogram(suffix, others, le string, value float64) error {
	last, begun := f.bounds[others]
	switch suffix {
	case "_bucket":
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil || begun && bound <= last || value < f.buckets[others] {
			return fmt.Errorf("the buckets do not ascend")
		}
		f.bounds[others], f.buckets[others] = bound, value
		return nil
	case "_sum", "_count":
		if !math.IsInf(last, 1) || suffix == "_count" && value != f.buckets[others] {
			return fmt.Errorf("the count is not that of the last bucket, +Inf")
		}
		return nil
	}
	return fmt.Errorf("not of the histogram %s", f.name)
}
