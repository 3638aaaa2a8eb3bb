package chart

import "testing"

// TestScale: the scale has a few lines at round numbers and holds the highest bar.
func TestScale(t *testing.T) {
	for _, most := range []int64{0, 1, 3, 4, 5, 9, 10, 11, 99, 100, 101, 1234, 98765, 1 << 40} {
		ceiling, step := scale(most)
		if lines := ceiling / step; ceiling < most || ceiling%step != 0 || lines < 1 || lines > 5 {
			t.Errorf("%d: up to %d by %d", most, ceiling, step)
		}
	}
}

// TestStacked: the parts of a bar stand on one another, as high as their values, inside the chart.
func TestStacked(t *testing.T) {
	c := New("t", []string{"a", "b"}, []Series{{Name: "x", Values: []int64{1, 0}},
		{Name: "y", Values: []int64{3, 2}}})
	if len(c.Bars) != 3 || c.Most != 4 {
		t.Fatalf("%+v", c)
	}
	x, y, other := c.Bars[0], c.Bars[1], c.Bars[2]
	if x.X != y.X || y.Y+y.H != x.Y || x.Y+x.H != Height-bottom || y.Y != top || other.X <= x.X ||
		other.X+other.W > Width || y.About != "a, y: 3" {
		t.Errorf("%+v", c.Bars)
	}
	empty := New("t", nil, nil)
	if len(empty.Bars) != 0 || len(empty.Lines) != 5 {
		t.Errorf("without bars: %+v", empty)
	}
}

func TestOrder(t *testing.T) {
	got := Order([]Series{{Name: "a", Values: []int64{1}}, {Name: "none", Values: []int64{0}},
		{Name: "b", Values: []int64{5}}})
	if len(got) != 2 || got[0].Name != "b" {
		t.Errorf("%+v", got)
	}
}
