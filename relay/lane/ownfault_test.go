package lane

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// kindRow is a row of diagnose/testdata/own-fault.jsonl and not-our-fault.jsonl.
type kindRow struct {
	Stage diagnose.Stage `json:"stage"`
	Reply string         `json:"reply"`
}

func kindRows(t *testing.T, name string) []kindRow {
	t.Helper()
	f, err := os.Open("../../diagnose/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []kindRow
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row kindRow
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) < 60 {
		t.Fatalf("%s has %d rows, want at least 60", name, len(rows))
	}
	return rows
}

// decided is what the relay does at the first attempt that meets the reply, and how it reads it.
func (r *kindRow) decided(e *diagnose.Engine) (relay.State, diagnose.Diagnosis) {
	policy, now := testPolicy(), time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	a := relay.Attempt{Stage: r.Stage, Reply: diagnose.ParseReply(r.Reply)}
	d := e.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply})
	return decide(&policy, now, &relay.Message{Arrived: now}, &relay.Recipient{State: relay.Queued}, &a, &d,
		0).State, d
}

// TestOwnFaultsNeverBounce holds that a refusal of our account, login, sender or quota waits for the
// operator, whoever words it, in whatever language and at whatever stage.
func TestOwnFaultsNeverBounce(t *testing.T) {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range kindRows(t, "own-fault.jsonl") {
		state, d := row.decided(e)
		if state == relay.Failed || d.Owner != diagnose.OwnerOperator ||
			d.Action == diagnose.ActionRemoveAddress {
			t.Errorf("%s %q: %s, %s (%s) must act, %s by %s",
				row.Stage, row.Reply, state, d.Owner, d.Reason, d.Action, d.Rule)
		}
	}
}

// TestRefusalsOfRecipientAndMessageFail holds that words like those about us, said of the recipient or the
// message, do not make mail wait.
func TestRefusalsOfRecipientAndMessageFail(t *testing.T) {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range kindRows(t, "not-our-fault.jsonl") {
		if state, d := row.decided(e); state != relay.Failed {
			t.Errorf("%s %q: %s, %s by %s", row.Stage, row.Reply, state, d.Reason, d.Rule)
		}
	}
}
