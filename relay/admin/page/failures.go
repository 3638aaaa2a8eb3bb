package page

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin/page/chart"
)

// span is a length of time that the failures are shown for.
type span struct {
	Name, About string
	length, bar time.Duration
	label       string // layout of a bar's time
}

// spans are those that can be chosen.
func spans() []span {
	return []span{
		{"1h", "last hour", time.Hour, 5 * time.Minute, "15:04"},
		{"24h", "last 24 hours", 24 * time.Hour, time.Hour, "15:04"},
		{"7d", "last 7 days", 7 * 24 * time.Hour, 6 * time.Hour, "2 Jan 15:04"},
	}
}

// which are the refusals that can be chosen.
type which struct {
	Name, About string
	kinds       []relay.EventKind
}

func whiches() []which {
	waits := []relay.EventKind{relay.EventDeferred, relay.EventRetrying}
	return []which{
		{"all", "all refusals", slices.Concat(finalKinds(), waits, []relay.EventKind{relay.EventRefused})},
		{"final", "given up", finalKinds()},
		{"waiting", "to be tried again", waits},
		{"door", "refused by the relay itself", []relay.EventKind{relay.EventRefused}},
	}
}

// failuresData is what the failures show.
type failuresData struct {
	Spans   []span
	Span    span
	Kinds   []which
	Kind    which
	Total   int64
	Chart   *chart.Chart
	Rows    []categoryRow // the chart as a table
	Reasons []relay.ReasonTally
	Now     time.Time
	Since   time.Time // since when there is a history, if that is not all of the span
}

// categoryRow is a category with its count.
type categoryRow struct {
	Name, Class string
	Count       int64
	Share       int // percent
}

// failures shows what was refused, by category and reason.
func (s *site) failures(r *http.Request) (view, error) {
	if s.o.History == nil {
		return view{template: "failures", Title: "Failures"}, nil
	}
	q := r.URL.Query()
	d := failuresData{Spans: spans(), Kinds: whiches(), Now: s.o.Now()}
	d.Span, d.Kind = d.Spans[1], d.Kinds[0]
	for _, sp := range d.Spans {
		if sp.Name == q.Get("span") {
			d.Span = sp
		}
	}
	for _, k := range d.Kinds {
		if k.Name == q.Get("kind") {
			d.Kind = k
		}
	}
	begin := d.Now.Truncate(d.Span.bar).Add(d.Span.bar - d.Span.length)
	tallies, err := s.o.History.Tallies(r.Context(), begin, d.Span.bar)
	if err == nil {
		d.draw(tallies, begin)
		d.Reasons, err = s.o.History.Reasons(r.Context(), begin, d.Kind.kinds)
	}
	if st := s.o.History.State(); st.Since.After(begin) {
		d.Since = st.Since
	}
	return view{template: "failures", Title: "Failures", Data: d, Live: true}, err
}

// draw makes the chart and its table.
func (d *failuresData) draw(tallies []relay.Tally, begin time.Time) {
	bars := int(d.Span.length / d.Span.bar)
	labels := make([]string, bars)
	for i := range labels {
		labels[i] = begin.Add(time.Duration(i) * d.Span.bar).UTC().Format(d.Span.label)
	}
	byCategory := map[diagnose.Category]*chart.Series{}
	var names []diagnose.Category
	for _, t := range tallies {
		i := int(t.Start.Sub(begin) / d.Span.bar)
		if !slices.Contains(d.Kind.kinds, t.Kind) || t.Start.Before(begin) || i >= bars {
			continue
		}
		if byCategory[t.Category] == nil {
			byCategory[t.Category] = &chart.Series{Name: nameOf(t.Category), Class: classOf(t.Category),
				Values: make([]int64, bars)}
			names = append(names, t.Category)
		}
		byCategory[t.Category].Values[i] += t.Count
		d.Total += t.Count
	}
	slices.Sort(names)
	var series []chart.Series
	for _, name := range names {
		series = append(series, *byCategory[name])
	}
	series = chart.Order(series)
	for _, s := range series {
		share := math.Round(float64(s.Sum()) * 100 / float64(d.Total))
		d.Rows = append(d.Rows, categoryRow{s.Name, s.Class, s.Sum(), int(share)})
	}
	d.Chart = chart.New("Refusals by category, "+d.Span.About, labels, series)
}

// nameOf is a category for people.
func nameOf(c diagnose.Category) string {
	if c == "" {
		return "no diagnosis"
	}
	return string(c)
}

// classOf is the class of CSS that gives a category its colour: the same on every page.
func classOf(c diagnose.Category) string {
	return "c-" + strings.ToLower(strings.ReplaceAll(nameOf(c), " ", "-"))
}
