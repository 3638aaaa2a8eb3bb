package webhook

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/feedback"
)

var update = flag.Bool("update", false, "write testdata/meanings.txt, to be read before it is committed")

// TestMeaning: what each kind of event of each provider means, of all samples in testdata/events, is what
// testdata/meanings.txt says. None concerns the upstream, so that none could pause a lane.
func TestMeaning(t *testing.T) {
	const file = "testdata/meanings.txt"
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, name := range Providers() {
		hook := newHook(t, name)
		fmt.Fprintf(&got, "%s\n", name)
		for _, s := range samples(t, name) {
			events, err := hook.Read(s.raw)
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				got.WriteString(meaning(t, engine, &events[i]))
			}
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || got.String() != string(want) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got.String(), want)
	}
}

// meaning is an event in a line: what is told, and what it means. A delivery needs no explanation.
func meaning(t *testing.T, engine *diagnose.Engine, e *feedback.Event) string {
	t.Helper()
	told := strings.Join(strings.Fields(e.Reply+e.Text), " ")
	line := fmt.Sprintf("  %-10s %-50s", e.Kind, strings.Join([]string{e.Type, e.Class, told}, " | "))
	if e.Kind == feedback.KindDelivered {
		return strings.TrimRight(line, " ") + "\n"
	}
	d := engine.Diagnose(e.Symptom())
	if d.Scope == diagnose.ScopeUpstream || d.Category == diagnose.ConnectionFailure || d.Category == "" {
		t.Errorf("%s: category %q, scope %s", line, d.Category, d.Scope)
	}
	return fmt.Sprintf("%s -> %s: %s, %s, %s\n", line, d.Category, d.Reason, d.Owner, d.Action)
}
