package diagnose

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are replies as they really arrive: whole, cut, repeated, mangled.
func seeds() []string {
	return []string{
		"", "5", "550", "550 ", "550-", "550 5.1.1", "550 5.1.1 User unknown\r\n", typicalReply, "550 (#5.1.1) sorry", "550 #5.7.1 no", "550 5.7.1: x",
		"550 4.2.2 over quota", "550 5.7.705 tenant", "550 05.01.01 x", "host mx.example.com said: 550 5.1.1 unknown (in reply to RCPT TO)",
		"550-5.7.1 one 550-5.7.1 two 550 5.7.1 three", "\xff\xfe550\x00", "550 caf\xe9 \xe9teint", "999 x", "221 2.0.0 bye", "452-4.2.2 a\n452 4.2.2 b",
		strings.Repeat("550-x\r\n", 50), "550 " + strings.Repeat("::1 ", 40), "550 用户不存在", "450 try again in 00:05:00", "552 exceeds 1e309 MB limit",
	}
}

func FuzzParseReply(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := ParseReply(raw)
		if r.Raw != raw {
			t.Fatalf("bytes changed: %q", r.Raw)
		}
		if r.Code != 0 && (r.Code < 200 || r.Code > 799) {
			t.Fatalf("code %d", r.Code)
		}
		if len(r.Text) > len(raw) {
			t.Fatalf("text of %d bytes from %d", len(r.Text), len(raw))
		}
		j, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Reply
		if err := json.Unmarshal(j, &back); err != nil || back != r {
			t.Fatalf("stored and read again: %+v, %v, want %+v", back, err, r)
		}
	})
}

func FuzzDiagnose(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, "rcpt", "a@gmial.com")
		f.Add(s, "", "")
	}
	e := newEngine(f)
	f.Fuzz(func(t *testing.T, raw, stage, recipient string) {
		for _, s := range []Symptom{
			{Stage: Stage(stage), Reply: ParseReply(raw), Facts: Facts{Recipient: recipient, HeaderFrom: recipient}},
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
	case d.Cause == "" || len(d.Fix) == 0 || d.Rule == "" || d.Basis == "" || d.Confidence == "" || d.Scope == "" || d.Owner == "" || d.Action == "":
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
