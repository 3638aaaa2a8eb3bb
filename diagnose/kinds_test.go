package diagnose

import "testing"

// TestKinds runs several wordings of each kind of refusal that was once taken for another: each must get its
// reason, and what looks like it must not.
func TestKinds(t *testing.T) {
	e := newEngine(t)
	type row struct {
		Kind, Reply, Text string
		Stage             Stage
		Reason            Reason
	}
	for _, row := range jsonRows[row](t, "testdata/kinds.jsonl", 100) {
		s := Symptom{Stage: row.Stage, Text: row.Text}
		if row.Reply != "" {
			s.Reply = ParseReply(row.Reply)
		}
		if d := e.Diagnose(s); d.Reason != row.Reason {
			t.Errorf("%s: %q is %s (by %s), want %s", row.Kind, row.Reply+row.Text, d.Reason, d.Rule, row.Reason)
		}
	}
}
