package diagnose

import (
	"strings"
	"testing"
)

func newEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// symptomOf makes a symptom of a line that may or may not hold a reply.
func symptomOf(s string) Symptom {
	if r := ParseReply(s); r.Code != 0 {
		return Symptom{Reply: r}
	}
	return Symptom{Text: s}
}

// TestRuleExamples runs the examples of all rules: the rule must hold there, and no other may contradict it.
func TestRuleExamples(t *testing.T) {
	e := newEngine(t)
	for i := range e.rules {
		r := &e.rules[i]
		if len(r.Example) == 0 {
			t.Errorf("rule %q has no example", r.ID)
		}
		for _, example := range r.Example {
			s := symptomOf(example)
			if len(r.Stage) > 0 {
				s.Stage = r.Stage[0]
			}
			f, _ := e.look(&s)
			holds := false
			for _, g := range f.signals {
				holds = holds || g.rule == r
			}
			if !holds {
				t.Errorf("rule %q does not hold on its example %q", r.ID, example)
				continue
			}
			d := e.Diagnose(s)
			if want := e.categoryFor(r, &s); d.Category != want {
				t.Errorf("rule %q says %s, but %q is %s (%s) by %q", r.ID, want, example, d.Category, d.Reason, d.Rule)
			} else if d.Reason != r.Reason {
				t.Errorf("rule %q says %s, but %q is %s by %q", r.ID, r.Reason, example, d.Reason, d.Rule)
			}
		}
	}
}

// categoryFor is the category that a rule gives: a Connection Failure that was told in a reply is filed under the guide's.
func (e *Engine) categoryFor(r *compiled, s *Symptom) Category {
	if r.category == ConnectionFailure && s.Reply.Code != 0 {
		return RecipientError
	}
	return r.category
}

// look gives the signals in a symptom's wording.
func (e *Engine) look(s *Symptom) (finding, *row) {
	r := new(row)
	text := s.Reply.Text
	if s.Reply.Code == 0 {
		text = s.Text
	}
	return e.read(r, text, s), r
}

// TestFixFollowsWhetherItIsTriedAgain: nobody is told to wait for an attempt that will not come.
func TestFixFollowsWhetherItIsTriedAgain(t *testing.T) {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		s     Symptom
		again bool
	}{
		{"temporary", Symptom{Reply: ParseReply("452 4.2.2 mailbox full")}, true},
		{"permanent", Symptom{Reply: ParseReply("552 5.2.2 mailbox full")}, false},
		{"expired", Symptom{Reply: ParseReply("452 4.2.2 mailbox full"), Final: true}, false},
	} {
		d := e.Diagnose(tt.s)
		if got := strings.Contains(strings.Join(d.Fix, " "), "tried again"); got != tt.again {
			t.Errorf("%s: fix %q", tt.name, d.Fix)
		}
	}
	for _, r := range e.Reasons() {
		if strings.Contains(strings.Join(r.FixFinal, " "), "tried again") {
			t.Errorf("%s: the final fix promises another attempt", r.ID)
		}
	}
}
