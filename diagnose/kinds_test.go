package diagnose

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// TestKinds runs several wordings of each kind of refusal that was once taken for another: each must get its
// reason, and what looks like it must not.
func TestKinds(t *testing.T) {
	e := newEngine(t)
	f, err := os.Open("testdata/kinds.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); rows++ {
		var row struct {
			Kind, Reply, Text string
			Stage             Stage
			Reason            Reason
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		s := Symptom{Stage: row.Stage, Text: row.Text}
		if row.Reply != "" {
			s.Reply = ParseReply(row.Reply)
		}
		if d := e.Diagnose(s); d.Reason != row.Reason {
			t.Errorf("%s: %q is %s (by %s), want %s", row.Kind, row.Reply+row.Text, d.Reason, d.Rule, row.Reason)
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows", rows)
	}
}
