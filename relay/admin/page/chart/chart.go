// Package chart lays out the stacked bars of the web page. It computes; the page's template draws. It knows
// neither colours nor HTML, and has no I/O.
package chart

import (
	"math"
	"slices"
	"strconv"
)

// The size of a chart in the units of its viewBox, and the room beside the bars.
const (
	Width  = 720
	Height = 220
	left   = 44
	top    = 10
	bottom = 26
)

// Series is one part of each bar: a name, and a value for each bar.
type Series struct {
	Name   string
	Class  string // of CSS
	Values []int64
}

// Sum is the sum of the values.
func (s *Series) Sum() (n int64) {
	for _, v := range s.Values {
		n += v
	}
	return n
}

// Chart is a chart as it is drawn.
type Chart struct {
	Title  string
	Series []Series
	Labels []string // of the bars
	Bars   []Rect
	Lines  []Line // of the scale, the lowest first
	Marks  []Mark // of the bars, not each one
	Most   int64
}

// Rect is a part of a bar.
type Rect struct {
	X, Y, W, H float64
	Class      string
	About      string // what it stands for
}

// Line is a line of the scale.
type Line struct {
	Y     float64
	X1    float64
	Label string
}

// Mark is a label below the bars.
type Mark struct {
	X     float64
	Label string
}

// New lays out bars. Each series has a value for each label.
func New(title string, labels []string, series []Series) *Chart {
	c := &Chart{Title: title, Series: series, Labels: labels}
	for i := range labels {
		var n int64
		for _, s := range series {
			n += s.Values[i]
		}
		c.Most = max(c.Most, n)
	}
	ceiling, step := scale(c.Most)
	y := func(n int64) float64 {
		return round(Height - bottom - float64(n)*(Height-bottom-top)/float64(ceiling))
	}
	for n := int64(0); n <= ceiling; n += step {
		c.Lines = append(c.Lines, Line{Y: y(n), X1: left, Label: strconv.FormatInt(n, 10)})
	}
	slot := float64(Width-left) / float64(max(len(labels), 1))
	every := max((len(labels)+5)/6, 1)
	for i, label := range labels {
		x, base := left+float64(i)*slot, int64(0)
		if i%every == 0 {
			c.Marks = append(c.Marks, Mark{X: round(x), Label: label})
		}
		for _, s := range series {
			if n := s.Values[i]; n > 0 {
				c.Bars = append(c.Bars, Rect{X: round(x + slot*0.1), Y: y(base + n), W: round(slot * 0.8),
					H: round(y(base) - y(base+n)), Class: s.Class,
					About: label + ", " + s.Name + ": " + strconv.FormatInt(n, 10)})
				base += n
			}
		}
	}
	return c
}

// scale is a round number that is at least most, and the step of the lines up to it.
func scale(most int64) (ceiling, step int64) {
	if most < 4 {
		return 4, 1
	}
	power := int64(math.Pow(10, math.Floor(math.Log10(float64(most)/4))))
	for _, n := range []int64{1, 2, 5, 10} {
		if step = n * power; step*4 >= most {
			break
		}
	}
	return (most + step - 1) / step * step, step
}

// round keeps the text of the chart short.
func round(f float64) float64 { return math.Round(f*10) / 10 }

// Order sorts series by their sums, the largest first, and leaves out those without any.
func Order(series []Series) []Series {
	series = slices.DeleteFunc(series, func(s Series) bool { return s.Sum() == 0 })
	slices.SortStableFunc(series, func(a, b Series) int { return int(max(min(b.Sum()-a.Sum(), 1), -1)) })
	return series
}
