package diagnose

import (
	"bufio"
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

// labelled is a row of testdata/replies.jsonl.
type labelled struct {
	Reply    string     `json:"reply"`
	Category *Category  `json:"guide_category"`
	Alt      []Category `json:"alt"`
}

func (l *labelled) accepts(c Category) bool {
	return l.Category != nil && *l.Category == c || slices.Contains(l.Alt, c)
}

func labelledReplies(t testing.TB, path string) []labelled {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []labelled
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row labelled
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// jsonRows are the rows of a file, a JSON object a line; there must be so many at least.
func jsonRows[T any](t *testing.T, file string, least int) (rows []T) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) < least {
		t.Fatalf("%s has only %d rows", file, len(rows))
	}
	return rows
}
