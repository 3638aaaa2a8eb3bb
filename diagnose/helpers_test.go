package diagnose

import (
	"encoding/json"
	"os"
	"slices"
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

// answer diagnoses a reply of which nothing else is known.
func (e *Engine) answer(reply string) Diagnosis { return e.Diagnose(Symptom{Reply: ParseReply(reply)}) }

// checkReasons holds that each reply has the reason that is wanted for it.
func checkReasons(t *testing.T, e *Engine, wanted map[string]Reason) {
	t.Helper()
	for reply, want := range wanted {
		if d := e.answer(reply); d.Reason != want {
			t.Errorf("%q is %s by %s, want %s", reply, d.Reason, d.Rule, want)
		}
	}
}

// labelled is a row of replies.jsonl, templates.jsonl and blind.jsonl.
type labelled struct {
	Reply    string     `json:"reply"`
	Category *Category  `json:"guide_category"`
	Alt      []Category `json:"alt"`
}

func (l *labelled) accepts(c Category) bool {
	return l.Category != nil && *l.Category == c || slices.Contains(l.Alt, c)
}

// labelledReplies are the rows of replies, templates or blind.
func labelledReplies(t testing.TB, name string) []labelled { return jsonRows[labelled](t, name, 90) }

// jsonRows are the rows of a file in testdata, a JSON object a line; there must be so many at least.
func jsonRows[T any](t testing.TB, name string, least int) (rows []T) {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for rest := json.NewDecoder(f); rest.More(); {
		var row T
		if err := rest.Decode(&row); err != nil {
			t.Fatalf("%s, row %d: %v", name, len(rows)+1, err)
		}
		rows = append(rows, row)
	}
	if len(rows) < least {
		t.Fatalf("%s has %d rows, want at least %d", name, len(rows), least)
	}
	return rows
}
