package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

func TestDiagnoseUnmatcheds(t *testing.T) {
	e := newTestDiagnoser(t).engine
	var log []byte
	add := func(n int, reply, host string) {
		for i := range n {
			raw := strings.NewReplacer("%d", fmt.Sprint(i)).Replace(reply)
			r := diagnose.ParseReply(raw)
			d := e.Diagnose(diagnose.Symptom{Reply: r})
			l := record.Event{Kind: "failed", ID: "a", To: "b@c.example", Host: host, Code: r.Code,
				Enhanced: r.Enhanced.String(), Reply: raw, Diagnosis: &d}
			log = append(l.AppendJSON(log), '\n')
		}
	}
	add(2, "550 zork %d the wumpus <u%d@c.example> at mx%d.c.example [192.0.2.%d]", "mx.c.example")
	add(3, "550 glorp quuxed", "mx.d.example")
	add(1, "552 quuxed", "mx.d.example") // a pair of the guide's table, but a bare code all the same
	add(4, "550 5.1.1 user unknown", "mx.d.example")
	file := filepath.Join(t.TempDir(), "delivery.log")
	if err := os.WriteFile(file, log, 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := runDiagnose(t, "", "--unmatched", "--json", file)
	if status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	var got []string
	for line := range strings.Lines(stdout) {
		var g wording
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d x %d %s by %v", g.Count, g.Code, g.Wording, g.Hosts))
	}
	want := []string{"3 x 550 glorp quuxed by [mx.d.example]",
		"2 x 550 zork N the wumpus ADDRESS at HOST IP by [mx.c.example]", "1 x 552 quuxed by [mx.d.example]"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}

	if _, stdout, _ = runDiagnose(t, string(log), "--unmatched"); !strings.Contains(stdout,
		"6 of 10 refusals were explained by a bare code or with low confidence, in 3 wordings") {
		t.Errorf("no sum in:\n%s", stdout)
	}

	rules := filepath.Join(t.TempDir(), "rules.toml")
	if err := os.WriteFile(rules,
		[]byte("[[rule]]\nid = \"glorp\"\nreason = \"mailbox_full\"\nany = [\"glorp quuxed\"]\nexample = "+
			"[\"550 glorp quuxed\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stdout, _ = runDiagnose(t, string(log), "--unmatched", "--rules", rules); strings.Contains(stdout,
		"glorp") || !strings.Contains(stdout, "3 of 10 refusals") {
		t.Errorf("the rule for glorp is not heeded:\n%s", stdout)
	}
}

// TestDiagnoseUnmatchedFeedback: what a provider tells later counts as well, its own words where it quotes no
// reply, but neither deliveries nor complaints.
func TestDiagnoseUnmatchedFeedback(t *testing.T) {
	e := newTestDiagnoser(t).engine
	var log []byte
	add := func(kind relay.EventKind, reply, words string) {
		d := e.Diagnose(diagnose.Symptom{Reply: diagnose.ParseReply(reply), Text: words})
		l := record.Event{Kind: kind, ID: "a", To: "b@c.example", Stage: diagnose.StageRemote, Reply: reply,
			ErrorText: words, Source: "webhook", Provider: "ses", ProviderType: "Permanent", Diagnosis: &d}
		if kind == relay.EventDelivered {
			l.Diagnosis = nil
		}
		log = append(l.AppendJSON(log), '\n')
	}
	add(relay.EventBounced, "550 zork", "")
	add(relay.EventBounced, "", "glorp quuxed")
	add(relay.EventComplained, "", "")
	add(relay.EventDelivered, "250 zork", "")
	_, stdout, stderr := runDiagnose(t, string(log), "--unmatched")
	for _, want := range []string{"550 zork", "glorp quuxed", "2 of 2 refusals"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s%s", want, stdout, stderr)
		}
	}
}

// TestDiagnoseSuggest holds that the rules suggested for unmatched wordings load, and match them all.
func TestDiagnoseSuggest(t *testing.T) {
	e := newTestDiagnoser(t).engine
	var log []byte
	replies := []string{"550 zork 17 the wumpus <u1@c.example>", "550 glorp \"quuxed\" \\x",
		"554 glorp quuxed",
		"450 \u202eglorp frobbed", "550 \u30bd\u30bc\u30eb", "550 17", "550 zork 18 the wumpus"}
	for _, reply := range replies {
		d := e.Diagnose(diagnose.Symptom{Reply: diagnose.ParseReply(reply)})
		l := record.Event{Kind: "failed", ID: "a", To: "b@c.example", Reply: reply, Diagnosis: &d}
		log = append(l.AppendJSON(log), '\n')
	}
	status, stdout, stderr := runDiagnose(t, string(log), "--unmatched", "--suggest")
	if status != 0 || !strings.HasPrefix(stdout, "# 5 rules for") || strings.Contains(stdout, "\u202e") {
		t.Fatalf("exit status %d: %s%s", status, stderr, stdout)
	}
	rules := filepath.Join(t.TempDir(), "rules.toml")
	if err := os.WriteFile(rules, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stdout, stderr = runDiagnose(t, string(log), "--unmatched", "--rules", rules)
	if !strings.Contains(stdout, "1 of 7 refusals") { // the one without a word
		t.Errorf("with the suggested rules: %s%s", stderr, stdout)
	}
}
