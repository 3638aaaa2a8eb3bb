package deploytest

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// ruleFile is Prometheus's file of alerts.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func readRules(t *testing.T) (f ruleFile) {
	t.Helper()
	text, err := os.ReadFile(chartDir + "/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAlerts: each alert can be read by Prometheus, asks for what there is, and says what to do.
func TestAlerts(t *testing.T) {
	served := scrape(t)
	page, err := os.ReadFile("../../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range readRules(t).Groups[0].Rules {
		if r.For == "" || r.Annotations["summary"] == "" || seen[r.Alert] {
			t.Errorf("%s: for %q, summary %q", r.Alert, r.For, r.Annotations["summary"])
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/alerts.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s: runbook_url %s", r.Alert, r.Annotations["runbook_url"])
		}
		if !strings.Contains(string(page), "\n## "+r.Alert+"\n") {
			t.Errorf("docs/alerts.md does not say what to do about %s", r.Alert)
		}
		served.has(t, r.Alert, r.Expr)
	}
	for _, m := range regexp.MustCompile(`(?m)^## (Mailwhy\w+)$`).FindAllStringSubmatch(string(page), -1) {
		if !seen[m[1]] {
			t.Errorf("docs/alerts.md has %s, which is no alert", m[1])
		}
	}
}

// TestPrometheusRule: the manifest has the alerts of the file.
func TestPrometheusRule(t *testing.T) {
	manifest, err := os.ReadFile(kubernetes + "/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var m prometheusRule
	if err := yaml.UnmarshalStrict(manifest, &m); err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(m.Spec)
	want, _ := json.Marshal(readRules(t))
	if string(got) != string(want) {
		t.Errorf("its spec is not chart/mailwhy/files/alerts.yaml:\n got %s\nwant %s", got, want)
	}
}

// TestDashboard: each query can be read by Prometheus and asks for what there is.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	served := scrape(t)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h",
		"$job", ".*", "$instance", ".*")
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: id %d, %d queries, place %v", p.Title, p.ID, len(p.Targets), p.GridPos)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			served.has(t, p.Title, variables.Replace(q.Expr))
		}
	}
	if len(ids) < 15 || len(d.Templating.List) != 3 {
		t.Errorf("%d panels, %d variables", len(ids), len(d.Templating.List))
	}
}

// metrics are the label names of each metric that a relay serves, and the values of each label.
type metrics map[string]map[string]map[string]bool

// addedByPrometheus are the labels that a scrape adds.
var addedByPrometheus = map[string]bool{"job": true, "instance": true}

// has fails for each metric, label and value that an expression asks for and the relay does not serve.
func (m metrics) has(t *testing.T, where, expr string) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expr)
		return
	}
	found := 0
	var served map[string]map[string]bool
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, is := n.(*parser.VectorSelector)
		if !is {
			return nil
		}
		found++
		labelsOf, ok := m[v.Name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, v.Name)
			return nil
		}
		if served == nil {
			served = map[string]map[string]bool{}
		}
		for name, values := range labelsOf {
			served[name] = values
		}
		for _, matcher := range v.LabelMatchers {
			m.matches(t, where, v.Name, matcher)
		}
		return nil
	})
	if found == 0 {
		t.Errorf("%s: %s asks for nothing", where, expr)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, is := n.(*parser.AggregateExpr); is {
			for _, name := range a.Grouping {
				if served[name] == nil && !addedByPrometheus[name] {
					t.Errorf("%s: no metric in it has the label %s", where, name)
				}
			}
		}
		return nil
	})
}

// matches fails when a matcher names a label that the metric does not have, or a value that it never has.
func (m metrics) matches(t *testing.T, where, metric string, matcher *labels.Matcher) {
	t.Helper()
	if matcher.Name == labels.MetricName || addedByPrometheus[matcher.Name] {
		return
	}
	if _, ok := m[metric][matcher.Name]; !ok {
		t.Errorf("%s: %s has no label %s", where, metric, matcher.Name)
	}
	if matcher.Type == labels.MatchNotEqual || matcher.Type == labels.MatchNotRegexp {
		return
	}
	for _, value := range strings.Split(matcher.Value, "|") {
		if !m.served(matcher.Name, value) {
			t.Errorf("%s: %s of %s is never %q", where, matcher.Name, metric, value)
		}
	}
}

// served reports whether some metric has the value at a label. Series of reasons begin with their first
// event, those of other metrics with the start, and both know the same events.
func (m metrics) served(label, value string) bool {
	for _, labelsOf := range m {
		if labelsOf[label][value] {
			return true
		}
	}
	return false
}
