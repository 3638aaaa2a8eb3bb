package diagnose

import (
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"
)

func FuzzDiagnose(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, "rcpt", "a@gmial.com")
		f.Add(s, "", "")
	}
	e := newEngine(f)
	f.Fuzz(func(t *testing.T, raw, stage, recipient string) {
		for _, s := range []Symptom{
			{Stage: Stage(stage), Reply: ParseReply(raw),
				Facts: Facts{Recipient: recipient, HeaderFrom: recipient}},
			{Text: raw, Upstream: recipient},
		} {
			d := e.Diagnose(s)
			checkSound(t, e, &s, &d)
			if again := e.Diagnose(s); again.Rule != d.Rule || again.Category != d.Category {
				t.Fatalf("%q: %s by %s, then %s by %s", raw, d.Category, d.Rule, again.Category, again.Rule)
			}
		}
	})
}

// checkSound holds what is true of every Diagnosis.
func checkSound(t *testing.T, e *Engine, s *Symptom, d *Diagnosis) {
	t.Helper()
	refusal := s.Reply.Code >= 400 || s.Reply.Code == 221
	switch {
	case d.Cause == "" || len(d.Fix) == 0 || d.Rule == "" || d.Basis == "" || d.Confidence == "",
		d.Scope == "", d.Owner == "", d.Action == "":
		t.Fatalf("incomplete: %+v", d)
	case refusal && !d.Category.InGuide():
		t.Fatalf("%q has category %q", s.Reply.Raw, d.Category)
	case d.InGuide != d.Category.InGuide() || slices.Contains(d.Alternatives, d.Category):
		t.Fatalf("contradicts itself: %+v", d)
	}
	if _, ok := e.Explain(d.Reason); !ok {
		t.Fatalf("reason %q is not defined", d.Reason)
	}
	if j, err := json.Marshal(d); err != nil || len(j) > 8<<10+6*len(s.Facts.Recipient)*4 {
		t.Fatalf("%d bytes, %v", len(j), err)
	}
	if !utf8.ValidString(d.Domain+d.IP) && utf8.ValidString(s.Reply.Raw+s.Text) {
		t.Fatalf("names %q %q", d.Domain, d.IP)
	}
}
