package main

import (
	"fmt"
	"io"
	"slices"

	"mailwhy/diagnose"
)

// score counts how answers compare with labels.
type score struct {
	rows, named             int // all rows, and those with a label
	strict, merged, lenient int
	said                    map[diagnose.Confidence]*tally
	wrong                   int                          // answers that are not acceptable
	rescued                 int                          // of them those with an acceptable alternative
	confusion               map[[2]diagnose.Category]int // label, answer
}

// tally is how many answers were given, and how many were acceptable.
type tally struct{ given, accepted int }

func (s *score) add(row labelled, d diagnose.Diagnosis) {
	if s.said == nil {
		s.said, s.confusion = map[diagnose.Confidence]*tally{}, map[[2]diagnose.Category]int{}
	}
	s.rows++
	t := s.said[d.Confidence]
	if t == nil {
		t = &tally{}
		s.said[d.Confidence] = t
	}
	t.given++
	if row.accepts(d.Category) {
		s.lenient++
		t.accepted++
	} else {
		s.wrong++
		if slices.ContainsFunc(d.Alternatives, row.accepts) {
			s.rescued++
		}
	}
	if row.Category == nil {
		return
	}
	s.named++
	s.confusion[[2]diagnose.Category{*row.Category, d.Category}]++
	if *row.Category == d.Category {
		s.strict++
	}
	if merged(*row.Category) == merged(d.Category) {
		s.merged++
	}
}

// merged makes one of the two categories that the guide defines in nearly the same words.
func merged(c diagnose.Category) diagnose.Category {
	if c == diagnose.MailboxIssues {
		return diagnose.InvalidAddress
	}
	return c
}

func percent(n, of int) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

func (s *score) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%s: %d rows, %d with a label\n", name, s.rows, s.named)
	fmt.Fprintf(w, "  strict %s  merged %s  lenient %s  macro-F1 %.3f\n", percent(s.strict, s.named),
		percent(s.merged, s.named), percent(s.lenient, s.rows), s.macroF1())
	for _, c := range []diagnose.Confidence{diagnose.High, diagnose.Medium, diagnose.Low} {
		if t := s.said[c]; t != nil {
			fmt.Fprintf(w, "  said %-6s %4d times (%s), %s acceptable\n", c, t.given,
				percent(t.given, s.rows), percent(t.accepted, t.given))
		}
	}
	if s.wrong > 0 {
		fmt.Fprintf(w, "  not acceptable %d times; an alternative is in %s of them\n",
			s.wrong, percent(s.rescued, s.wrong))
	}
}

// labels gives the categories that occur as labels, in alphabetical order.
func (s *score) labels() []diagnose.Category {
	var out []diagnose.Category
	for k := range s.confusion {
		if !slices.Contains(out, k[0]) {
			out = append(out, k[0])
		}
	}
	slices.Sort(out)
	return out
}

// measure gives precision and recall of a category, and how often it is the label.
func (s *score) measure(c diagnose.Category) (precision, recall float64, labelled int) {
	var answered, right int
	for k, n := range s.confusion {
		if k[0] == c {
			labelled += n
		}
		if k[1] == c {
			answered += n
		}
		if k[0] == c && k[1] == c {
			right += n
		}
	}
	if answered > 0 {
		precision = float64(right) / float64(answered)
	}
	if labelled > 0 {
		recall = float64(right) / float64(labelled)
	}
	return precision, recall, labelled
}

func f1(precision, recall float64) float64 {
	if precision+recall == 0 {
		return 0
	}
	return 2 * precision * recall / (precision + recall)
}

func (s *score) macroF1() float64 {
	labels, sum := s.labels(), 0.0
	for _, c := range labels {
		p, r, _ := s.measure(c)
		sum += f1(p, r)
	}
	return sum / float64(max(1, len(labels)))
}

func (s *score) printCategories(w io.Writer) {
	t := table(w)
	fmt.Fprintln(t, "\ncategory\trows\tprecision\trecall\tF1")
	for _, c := range s.labels() {
		p, r, n := s.measure(c)
		fmt.Fprintf(t, "%s\t%d\t%.3f\t%.3f\t%.3f\n", c, n, p, r, f1(p, r))
	}
	t.Flush()
}

func (s *score) printConfusion(w io.Writer) {
	var wrong [][2]diagnose.Category
	for k := range s.confusion {
		if k[0] != k[1] {
			wrong = append(wrong, k)
		}
	}
	slices.SortFunc(wrong, func(a, b [2]diagnose.Category) int {
		if n := s.confusion[b] - s.confusion[a]; n != 0 {
			return n
		}
		return slices.Compare(a[:], b[:])
	})
	t := table(w)
	fmt.Fprintln(t, "\nlabel\tanswered\trows")
	for _, k := range wrong {
		fmt.Fprintf(t, "%s\t%s\t%d\n", k[0], k[1], s.confusion[k])
	}
	t.Flush()
}
