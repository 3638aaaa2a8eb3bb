package diagnose

import (
	"bufio"
	"encoding/binary"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestGuidePairs gives each row of the guide's table as a bare reply: the answer is one of the categories
// that the row names, the others are among the alternatives.
func TestGuidePairs(t *testing.T) {
	e := newEngine(t)
	data, err := os.ReadFile("testdata/guide-pairs.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(string(data)), "\n")[1:]
	if len(rows) < 100 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "\t")
		reply := strings.TrimSuffix(cells[0]+" "+cells[1], " -")
		var named []Category
		for _, name := range strings.Split(cells[2]+"; "+cells[3], "; ") {
			if name != "-" && !slices.Contains(named, Category(name)) {
				named = append(named, Category(name))
			}
		}
		d := e.answer(reply)
		if !slices.Contains(named, d.Category) {
			t.Errorf("%s is %s (by %s), want one of %v", reply, d.Category, d.Rule, named)
			continue
		}
		for _, c := range named {
			if c != d.Category && !slices.Contains(d.Alternatives, c) {
				t.Errorf("%s is %s; %s is not among the alternatives %v",
					reply, d.Category, c, d.Alternatives)
			}
		}
	}
}

// TestGuideAdvice holds each piece of the guide's advice against the reason or category that carries it: all
// its words must be in what that says.
func TestGuideAdvice(t *testing.T) {
	e := newEngine(t)
	for _, c := range jsonRows[struct{ Advice, ID, Words string }](t, "guide-advice", 40) {
		said := strings.ToLower(e.allSaid(c.ID))
		for w := range strings.FieldsSeq(c.Words) {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %s does not say %q: %s", c.Advice, c.ID, w, said)
			}
		}
	}
}

// allSaid is everything that a category or a reason says.
func (e *Engine) allSaid(id string) string {
	if c, ok := e.Gloss(Category(id)); ok {
		return strings.Join(append([]string{c.Definition, c.Cause}, append(c.Fix, c.Links...)...), "\n")
	}
	r, _ := e.Explain(Reason(id))
	return strings.Join(append([]string{r.Definition, r.Cause}, append(r.Fix, r.Links...)...), "\n")
}

// TestGuideNotCopied holds that our data repeats no eight words in a row of the guide.
// testdata/guide-runs.txt holds the hashes of all such runs.
func TestGuideNotCopied(t *testing.T) {
	f, err := os.Open("testdata/guide-runs.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runs := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		runs[lines.Text()] = true
	}
	if len(runs) < 500 {
		t.Fatalf("only %d runs", len(runs))
	}
	e := newEngine(t)
	for _, c := range e.Categories() {
		copied(t, runs, string(c.Name), e.allSaid(string(c.Name)))
	}
	for _, r := range e.Reasons() {
		copied(t, runs, string(r.ID), e.allSaid(string(r.ID)))
	}
	for i := range e.rules {
		for _, x := range e.rules[i].Example {
			copied(t, runs, e.rules[i].ID, x)
		}
	}
	for _, advice := range e.advice {
		for _, a := range advice {
			copied(t, runs, "advice of "+a.Provider, strings.Join(a.Fix, "\n"))
		}
	}
}

func copied(t *testing.T, runs map[string]bool, where, text string) {
	t.Helper()
	words := lettersOf(text)
	for i := 0; i+8 <= len(words); i++ {
		if run := strings.Join(words[i:i+8], " "); runs[hashOf(run)] {
			t.Errorf("%s repeats the guide: %q", where, run)
		}
	}
}

// lettersOf gives the words of a text in lower case, without anything but letters and digits.
func lettersOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

func hashOf(s string) string {
	h := fnv.New64a()
	h.Write([]byte(s))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], h.Sum64())
	const hex = "0123456789abcdef"
	out := make([]byte, 0, 16)
	for _, c := range b {
		out = append(out, hex[c>>4], hex[c&15])
	}
	return string(out)
}

// TestStepsAreSteps holds that each step is something to do, not a remark on what happens by itself.
func TestStepsAreSteps(t *testing.T) {
	e := newEngine(t)
	steps := map[string][]string{}
	for _, r := range e.Reasons() {
		if r.ID != noRefusal {
			steps[string(r.ID)] = slices.Concat(r.Fix, r.FixFinal)
		}
	}
	for _, c := range e.Categories() {
		steps[string(c.Name)] = c.Fix
	}
	for id, fix := range steps {
		for _, step := range fix {
			if first, _, _ := strings.Cut(step, " "); first == "It" || first == "Nothing" || first == "This" {
				t.Errorf("%s: %q is not a step", id, step)
			}
		}
	}
}
