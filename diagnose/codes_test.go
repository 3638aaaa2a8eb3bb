package diagnose

import (
	"fmt"
	"testing"
)

func TestCodes(t *testing.T) {
	e := newEngine(t)
	both := e.Codes(550, Enhanced{5, 2, 1})
	if len(both.Pairs) != 1 || both.Pairs[0].Code != 550 || both.EnhancedReason == "" ||
		both.CodeReason == "" {
		t.Errorf("550 5.2.1 is %+v", both)
	}
	if all := e.Codes(550, Enhanced{}); len(all.Pairs) < 20 || all.EnhancedReason != "" {
		t.Errorf("550 alone has %d rows, reason %q", len(all.Pairs), all.EnhancedReason)
	}
	for _, p := range e.Codes(0, Enhanced{5, 1, 1}).Pairs {
		if p.Enhanced != (Enhanced{5, 1, 1}) {
			t.Errorf("5.1.1 has the row %+v", p)
		}
	}
	if e.Codes(599, Enhanced{}).Known() {
		t.Error("599 is known")
	}
}

// TestPhraseHolds makes a rule of the wording of each public reply: it must hold there.
func TestPhraseHolds(t *testing.T) {
	e := newEngine(t)
	tried := 0
	for _, row := range labelledReplies(t, "public") {
		reply := ParseReply(row.Reply)
		phrase := e.Phrase(reply.Text)
		if phrase == "" {
			continue
		}
		if tried++; tried%8 != 0 { // an engine a reply takes long
			continue
		}
		const form = "[[rule]]\nid = \"ours\"\nreason = \"server_full\"\nweight = \"certain\"\nany = [%q]\n"
		rules := fmt.Sprintf(form, phrase)
		own, err := New(Options{Rules: []byte(rules)})
		if err != nil {
			t.Fatalf("%q: %v", phrase, err)
		}
		f, _ := own.look(&Symptom{Reply: reply})
		holds := false
		for _, g := range f.signals {
			holds = holds || g.rule.ID == "ours"
		}
		if !holds {
			t.Errorf("%q does not hold on %q", phrase, row.Reply)
		}
	}
	if tried < 300 {
		t.Errorf("only %d replies have a phrase", tried)
	}
}
