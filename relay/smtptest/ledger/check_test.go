package ledger

import (
	"strings"
	"testing"
	"time"
)

// history writes records at one second's distance.
type history struct {
	records []Record
	at      time.Time
}

func (h *history) add(r Record) *history {
	h.at = h.at.Add(time.Second)
	r.Time = h.at
	h.records = append(h.records, r)
	return h
}

// offered is a message that the client finished, and acknowledged one that was answered with 250.
func (h *history) offered(id string, to ...string) *history {
	return h.add(Record{What: Began, ID: id, From: "a@b.test", To: to, Sum: "sum-" + id}).
		add(Record{What: Dotted, ID: id})
}

func (h *history) acknowledged(id string, to ...string) *history {
	return h.offered(id, to...).add(Record{What: Acked, ID: id, To: to, Queue: "Q" + id})
}

func (h *history) arrived(id string, to ...string) *history {
	return h.add(Record{What: Arrived, ID: id, From: "a@b.test", To: to, Sum: "sum-" + id})
}

func (h *history) bounced(report, id string, to ...string) *history {
	return h.add(Record{What: Bounced, ID: id, To: to, Report: report})
}

func (h *history) crash() *history { return h.add(Record{What: Crashed}) }

func TestCheck(t *testing.T) {
	start := func() *history { return &history{at: time.Unix(1e9, 0)} }
	two := Rules{Concurrency: 2}
	tests := []struct {
		name    string
		history *history
		rules   Rules
		broken  string // in the one violation; "" is none
		want    Tally
	}{
		{
			name:    "nothing",
			history: start(),
			rules:   two,
		},
		{
			name: "relayed",
			history: start().acknowledged("1", "x", "y").
				arrived("1", "x", "y"),
			rules: two,
			want:  Tally{Offered: 1, Acked: 1, Arrived: 2},
		},
		{
			name: "bounced",
			history: start().acknowledged("1", "x", "y").
				arrived("1", "x").
				bounced("r", "1", "y"),
			rules: two,
			want:  Tally{Offered: 1, Acked: 1, Arrived: 1, Bounced: 1},
		},
		{
			name:    "lost",
			history: start().acknowledged("1", "x"),
			rules:   two,
			broken:  "I1",
			want:    Tally{Offered: 1, Acked: 1, Lost: 1},
		},
		{
			name: "lost for one of two",
			history: start().acknowledged("1", "x", "y").
				arrived("1", "x"),
			rules:  two,
			broken: "I1",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Lost: 1},
		},
		{
			name:    "lost and named",
			history: start().acknowledged("1", "x"),
			rules:   Rules{Named: func(q string) bool { return q == "Q1" }},
			want:    Tally{Offered: 1, Acked: 1, Named: 1},
		},
		{
			name:    "lost and another named",
			history: start().acknowledged("1", "x"),
			rules:   Rules{Named: func(q string) bool { return q == "Q2" }},
			broken:  "I1",
			want:    Tally{Offered: 1, Acked: 1, Lost: 1},
		},
		{
			name:    "unanswered need not arrive",
			history: start().offered("1", "x"),
			rules:   two,
			want:    Tally{Offered: 1, Unanswered: 1},
		},
		{
			name: "unanswered may arrive",
			history: start().offered("1", "x").
				arrived("1", "x"),
			rules: two,
			want:  Tally{Offered: 1, Unanswered: 1, Arrived: 1, Unasked: 1},
		},
		{
			name: "twice",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				arrived("1", "x"),
			rules:  two,
			broken: "I2",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 1},
		},
		{
			name: "twice, no crash between",
			history: start().acknowledged("1", "x").
				crash().
				arrived("1", "x").
				arrived("1", "x"),
			rules:  two,
			broken: "I2",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 1, Crashes: 1},
		},
		{
			name: "twice around a crash",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				crash().
				arrived("1", "x"),
			rules: two,
			want:  Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 1, Worst: 1, Crashes: 1},
		},
		{
			name: "three times around one crash",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				crash().
				arrived("1", "x").
				arrived("1", "x"),
			rules:  two,
			broken: "I2",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 2, Worst: 1, Crashes: 1},
		},
		{
			name: "more at a crash than connections",
			history: start().acknowledged("1", "x").
				acknowledged("2", "x").
				acknowledged("3", "x").
				arrived("1", "x").
				arrived("2", "x").
				arrived("3", "x").
				crash().
				arrived("1", "x").
				arrived("2", "x").
				arrived("3", "x"),
			rules:  two,
			broken: "I2",
			want:   Tally{Offered: 3, Acked: 3, Arrived: 3, Duplicates: 3, Worst: 3, Crashes: 1},
		},
		{
			name: "one message for two recipients is one",
			history: start().acknowledged("1", "x", "y").
				arrived("1", "x", "y").
				crash().
				arrived("1", "x", "y"),
			rules: Rules{Concurrency: 1},
			want:  Tally{Offered: 1, Acked: 1, Arrived: 2, Duplicates: 2, Worst: 1, Crashes: 1},
		},
		{
			name: "twice after an ambiguous end",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				arrived("1", "x"),
			rules: Rules{Ambiguous: map[string]int{"Q1": 1}},
			want:  Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 1},
		},
		{
			name: "three times after an ambiguous end",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				arrived("1", "x").
				arrived("1", "x"),
			rules:  Rules{Ambiguous: map[string]int{"Q1": 1}},
			broken: "I2",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Duplicates: 2},
		},
		{
			name: "damaged",
			history: start().acknowledged("1", "x").
				add(Record{What: Arrived, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "other"}),
			rules:  two,
			broken: "I3",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Damaged: 1},
		},
		{
			name: "something before the content",
			history: start().acknowledged("1", "x").
				add(Record{
					What: Arrived, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "sum-1", Note: "X: y",
				}),
			rules:  two,
			broken: "I3",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Damaged: 1},
		},
		{
			name: "another sender",
			history: start().acknowledged("1", "x").
				add(Record{What: Arrived, ID: "1", From: "", To: []string{"x"}, Sum: "sum-1"}),
			rules:  two,
			broken: "I3",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1},
		},
		{
			name: "another recipient",
			history: start().acknowledged("1", "x").
				arrived("1", "x", "z"),
			rules:  two,
			broken: "I3",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1},
		},
		{
			name:    "invented",
			history: start().arrived("1", "x"),
			rules:   two,
			broken:  "I3",
			want:    Tally{Unasked: 1},
		},
		{
			name: "truncated: the dot was never said",
			history: start().
				add(Record{What: Began, ID: "1", From: "a@b.test", To: []string{"x"}, Sum: "sum-1"}).
				arrived("1", "x"),
			rules:  two,
			broken: "I4",
			want:   Tally{Offered: 1, Arrived: 1, Unasked: 1},
		},
		{
			name: "refused and arrived",
			history: start().offered("1", "x").
				add(Record{What: Refused, ID: "1"}).
				arrived("1", "x"),
			rules:  two,
			broken: "I4",
			want:   Tally{Offered: 1, Refused: 1, Arrived: 1, Unasked: 1},
		},
		{
			name: "refused for the disk and arrived",
			history: start().offered("1", "x").
				add(Record{What: Refused, ID: "1"}).
				arrived("1", "x"),
			rules: Rules{RefusedMay: true},
			want:  Tally{Offered: 1, Refused: 1, Arrived: 1, Unasked: 1},
		},
		{
			name: "arrived and bounced",
			history: start().acknowledged("1", "x").
				arrived("1", "x").
				bounced("r", "1", "x"),
			rules:  two,
			broken: "I5",
			want:   Tally{Offered: 1, Acked: 1, Arrived: 1, Bounced: 1},
		},
		{
			name: "two reports",
			history: start().acknowledged("1", "x").
				bounced("r", "1", "x").
				crash().
				bounced("s", "1", "x"),
			rules:  two,
			broken: "I5",
			want:   Tally{Offered: 1, Acked: 1, Bounced: 1, Duplicates: 1, Worst: 1, Crashes: 1},
		},
		{
			name: "one report twice after a crash",
			history: start().acknowledged("1", "x").
				bounced("r", "1", "x").
				crash().
				bounced("r", "1", "x"),
			rules: two,
			want:  Tally{Offered: 1, Acked: 1, Bounced: 1, Duplicates: 1, Worst: 1, Crashes: 1},
		},
		{
			name: "one report twice without one",
			history: start().acknowledged("1", "x").
				bounced("r", "1", "x").
				bounced("r", "1", "x"),
			rules:  two,
			broken: "I2",
			want:   Tally{Offered: 1, Acked: 1, Bounced: 1, Duplicates: 1},
		},
		{
			name: "a report to nobody",
			history: start().add(Record{What: Began, ID: "1", To: []string{"x"}}).
				add(Record{What: Dotted, ID: "1"}).
				add(Record{What: Acked, ID: "1", To: []string{"x"}}).
				bounced("r", "1", "x"),
			rules:  two,
			broken: "I5",
			want:   Tally{Offered: 1, Acked: 1, Bounced: 1},
		},
		{
			name:    "cut need not arrive",
			history: start().add(Record{What: Began, ID: "1", To: []string{"x"}}),
			rules:   two,
			want:    Tally{Offered: 1},
		},
		{
			name:    "refused need not arrive",
			history: start().offered("1", "x").add(Record{What: Refused, ID: "1"}),
			rules:   two,
			want:    Tally{Offered: 1, Refused: 1},
		},
		{
			name:    "unanswered must not arrive twice",
			history: start().offered("1", "x").arrived("1", "x").arrived("1", "x"),
			rules:   two,
			broken:  "I2",
			want:    Tally{Offered: 1, Unanswered: 1, Arrived: 1, Unasked: 1, Duplicates: 1},
		},
		{
			name: "the sum comes with the dot",
			history: start().add(Record{What: Began, ID: "1", From: "a@b.test", To: []string{"x"}}).
				add(Record{What: Dotted, ID: "1", Sum: "sum-1"}).arrived("1", "x"),
			rules: two,
			want:  Tally{Offered: 1, Unanswered: 1, Arrived: 1, Unasked: 1},
		},
		{
			name:    "neither a message nor a report",
			history: start().add(Record{What: Stray, Note: "Subject: x"}),
			rules:   two,
			broken:  "I3",
			want:    Tally{Stray: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Check(tt.history.records, tt.rules)
			if v.Tally != tt.want {
				t.Errorf("Tally %+v\nwant  %+v", v.Tally, tt.want)
			}
			switch {
			case tt.broken == "" && len(v.Broken) > 0:
				t.Errorf("broken: %q", v.Broken)
			case tt.broken != "" && (len(v.Broken) != 1 || !strings.HasPrefix(v.Broken[0], tt.broken)):
				t.Errorf("broken: %q, want one %s", v.Broken, tt.broken)
			}
		})
	}
}
