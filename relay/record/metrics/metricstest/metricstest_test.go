package metricstest

import "testing"

// TestParse: series are found by their labels in any order, and a page that is not right is an error.
func TestParse(t *testing.T) {
	const head = "# HELP a_total x\n# TYPE a_total counter\n"
	const hist = "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\n" +
		"h_sum 7.5\nh_count 3\n"
	p, err := Parse(head + "a_total{k=\"a\\\"\\\\\\n\",b=\"}\"} 1\na_total 3\n" + hist)
	if err != nil {
		t.Fatal(err)
	}
	p.Expect(t, map[string]float64{
		"a_total": 3, `a_total{k="a\"\\\n",b="}"}`: 1, `a_total{b="}",k="a\"\\\n"}`: 1,
		`h_bucket{le="1"}`: 2, `h_bucket{le="+Inf"}`: 3, "h_sum": 7.5, "h_count": 3,
	})
	for what, page := range map[string]string{
		"a series twice": head + "a_total 1\na_total 1\n",
		"an open quote":  head + "a_total{k=\"a\"b\"} 1\n",
		"no value":       head + "a_total x\n",
	} {
		if p, err := Parse(page); err == nil {
			t.Errorf("%s: taken as %v", what, p)
		}
	}
}
