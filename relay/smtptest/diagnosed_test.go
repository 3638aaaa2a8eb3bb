package smtptest_test

import (
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// TestCasesAreDiagnosed holds the cases' replies and the engine together: what practice shows is what the
// guide says.
func TestCasesAreDiagnosed(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer(
		"{to}", "user@any.test", "{from}", "app@sender.test", "{domain}", "sender.test")
	for _, c := range smtptest.Cases() {
		if c.Category == "" {
			continue
		}
		reply := fill.Replace(strings.ReplaceAll(c.Reply, "\n", "\r\n")) + "\r\n"
		d := engine.Diagnose(diagnose.Symptom{Stage: c.Stage, Reply: diagnose.ParseReply(reply)})
		if d.Category != c.Category {
			t.Errorf("%s: %s (%s, by %s), want %s", c.Name, d.Category, d.Reason, d.Rule, c.Category)
		}
	}
}
