package metricstest

import "testing"

// TestParseRefuses: the judge sees what is wrong.
func TestParseRefuses(t *testing.T) {
	const head = "# HELP a_total x\n# TYPE a_total counter\n"
	const hist = "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\n"
	if _, err := Parse(head + "a_total{k=\"a\\\"\\\\\\n\",l=\"}\"} 1\na_total 3\n" + hist + "h_bucket{le=\"+Inf\"} 3\nh_sum 7.5\nh_count 3\n"); err != nil {
		t.Error(err)
	}
	for what, page := range map[string]string{
		"no end of line":       head + "a_total 1",
		"no UTF-8":             head + "a_total{k=\"\xff\"} 1\n",
		"no family":            "a_total 1\n",
		"another name":         head + "b_total 1\n",
		"a family twice":       head + head,
		"a gauge called total": "# HELP a_total x\n# TYPE a_total gauge\n",
		"a series twice":       head + "a_total 1\na_total 1\n",
		"an open quote":        head + "a_total{k=\"a\"b\"} 1\n",
		"a wrong escape":       head + "a_total{k=\"\\t\"} 1\n",
		"a label twice":        head + "a_total{k=\"\",k=\"\"} 1\n",
		"no value":             head + "a_total x\n",
		"a negative counter":   head + "a_total -1\n",
		"falling buckets":      hist + "h_bucket{le=\"+Inf\"} 1\n",
		"buckets out of order": hist + "h_bucket{le=\"0.5\"} 2\n",
		"no last bucket":       hist + "h_count 2\n",
		"another count":        hist + "h_bucket{le=\"+Inf\"} 3\nh_count 2\n",
	} {
		if p, err := Parse(page); err == nil {
			t.Errorf("%s: taken as %v", what, p)
		}
	}
}
