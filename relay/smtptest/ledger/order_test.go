package ledger

import (
	"strings"
	"testing"
	"time"
)

// TestOutOfOrder: which messages count as overtaken, by what happened, in words: "+1" is offered and
// acknowledged, "(1" begun, "1)" acknowledged, "1" arrived.
func TestOutOfOrder(t *testing.T) {
	lanes := map[string]string{"Q1": "a", "Q2": "a", "Q3": "a", "Q4": "b", "Q5": ""}
	for _, tt := range []struct {
		history  string
		broken   string // the one that was overtaken
		compared int
	}{
		{"", "", 0},
		{"+1 +2 +3 1 2 3", "", 3},
		{"+1 +2 +3 1 3 2", "2", 3},
		{"+1 +2 2 1", "1", 2},
		{"+1 +2 1 2 1", "", 2},     // came again
		{"(1 (2 1) 2) 2 1", "", 2}, // offered at the same time
		{"+1 (2 2 2) 1", "1", 2},   // relayed before it was acknowledged
		{"+1 +4 4 1", "", 2},       // by another lane
		{"+1 +5 5 1", "", 1},       // is not held to an order
		{"+1 +2 2", "", 1},         // never came
	} {
		h := &history{at: time.Unix(1e9, 0)}
		for word := range strings.FieldsSeq(tt.history) {
			id := strings.Trim(word, "+()")
			if strings.ContainsAny(word[:1], "+(") {
				h.add(Record{What: Began, ID: id, From: "a@b.test"})
			}
			switch {
			case word[0] == '+', strings.HasSuffix(word, ")"):
				h.add(Record{What: Acked, ID: id, Queue: "Q" + id})
			case word == id:
				h.arrived(id, "x")
			}
		}
		broken, compared := OutOfOrder(h.records, func(queue string) string { return lanes[queue] })
		ok := len(broken) == 0
		if tt.broken != "" {
			ok = len(broken) == 1 && strings.HasPrefix(broken[0], tt.broken+" arrived")
		}
		if !ok || compared != tt.compared {
			t.Errorf("%q: %q of %d, want %q of %d", tt.history, broken, compared, tt.broken, tt.compared)
		}
	}
}
