package diagnose

import (
	"bufio"
	"encoding/json"
	"hash/fnv"
	"os"
	"slices"
	"testing"
)

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

// TestAccuracy holds what was reached on the labelled replies: those that the rules were written by, those kept aside
// (the split of scripts/accuracy), and the answers called high.
func TestAccuracy(t *testing.T) {
	e := newEngine(t)
	type part struct{ rows, named, strict, lenient int }
	var parts [2]part
	var high, acceptable int
	for _, row := range labelledReplies(t, "testdata/replies.jsonl") {
		h := fnv.New32a()
		h.Write([]byte(row.Reply))
		p := &parts[0]
		if h.Sum32()%10 < 3 {
			p = &parts[1]
		}
		d := e.Diagnose(Symptom{Reply: ParseReply(row.Reply)})
		p.rows++
		if row.accepts(d.Category) {
			p.lenient++
		}
		if row.Category != nil {
			p.named++
			if *row.Category == d.Category {
				p.strict++
			}
		}
		if d.Confidence == High {
			high++
			if row.accepts(d.Category) {
				acceptable++
			}
		}
	}
	floor := func(what string, n, of int, least float64) {
		if got := 100 * float64(n) / float64(of); got < least {
			t.Errorf("%s: %.1f %% (%d of %d), want at least %.0f %%", what, got, n, of, least)
		}
	}
	floor("strict on the rows that the rules were written by", parts[0].strict, parts[0].named, 98)
	floor("strict on the rows kept aside", parts[1].strict, parts[1].named, 90)
	floor("lenient on the rows kept aside", parts[1].lenient, parts[1].rows, 95)
	floor("acceptable among those called high", acceptable, high, 97)
}

// TestBlind holds what is reached on the wordings that were written down and labelled before the engine was asked. The score
// at first sight, which is what counts, stands in docs/diagnosis.md.
func TestBlind(t *testing.T) {
	e := newEngine(t)
	var named, strict, lenient, high, acceptable int
	rows := labelledReplies(t, "testdata/blind.jsonl")
	for _, row := range rows {
		d := e.Diagnose(symptomOf(row.Reply))
		ok := row.accepts(d.Category)
		lenient += one(ok)
		named += one(row.Category != nil)
		strict += one(row.Category != nil && *row.Category == d.Category)
		high += one(d.Confidence == High)
		acceptable += one(d.Confidence == High && ok)
	}
	for _, c := range []struct {
		what  string
		n, of int
		least float64
	}{
		{"strict", strict, named, 97}, {"lenient", lenient, len(rows), 98}, {"acceptable among those called high", acceptable, high, 99},
	} {
		if got := 100 * float64(c.n) / float64(c.of); got < c.least {
			t.Errorf("%s: %.1f %% (%d of %d), want at least %.0f %%", c.what, got, c.n, c.of, c.least)
		}
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
