package logview

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record"
)

// Row counts the events of one kind of refusal.
type Row struct {
	Category diagnose.Category `json:"category"`
	Reason   diagnose.Reason   `json:"reason"`
	Owner    diagnose.Owner    `json:"owner"`
	Final    int               `json:"final"`    // nothing more is tried
	Deferred int               `json:"deferred"` // attempts after which another one is made
}

// Summary counts refusals.
type Summary struct{ rows []Row }

// Add counts an event, if it is a refusal.
func (s *Summary) Add(e *record.Event) {
	final := false
	switch e.Kind {
	case relay.EventRefused:
		if e.ID != "" {
			return // a verdict: its recipients have an event of their own each, which is counted
		}
		final = true
	case relay.EventFailed, relay.EventExpired, relay.EventSuppressed, relay.EventBounced,
		relay.EventComplained:
		final = true
	case relay.EventDeferred, relay.EventRetrying:
	default:
		return
	}
	if e.Diagnosis == nil {
		return
	}
	row := s.row(e.Diagnosis)
	if final {
		row.Final++
	} else {
		row.Deferred++
	}
}

// row finds the row of a diagnosis, or makes it.
func (s *Summary) row(d *diagnose.Diagnosis) *Row {
	for i := range s.rows {
		if r := &s.rows[i]; r.Category == d.Category && r.Reason == d.Reason && r.Owner == d.Owner {
			return r
		}
	}
	s.rows = append(s.rows, Row{Category: d.Category, Reason: d.Reason, Owner: d.Owner})
	return &s.rows[len(s.rows)-1]
}

// Write writes the rows, the most frequent first: a table, or a JSON object a line.
func (s *Summary) Write(w io.Writer, asJSON bool) error {
	slices.SortStableFunc(s.rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Final, a.Final), cmp.Compare(b.Deferred, a.Deferred),
			cmp.Compare(a.Category, b.Category), cmp.Compare(a.Reason, b.Reason))
	})
	if asJSON {
		out := json.NewEncoder(w)
		for _, r := range s.rows {
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.rows) == 0 {
		_, err := fmt.Fprintln(w, "no refusals")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FINAL\tDEFERRED\tCATEGORY\tREASON\tMUST ACT")
	for _, r := range s.rows {
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\n", r.Final, r.Deferred,
			safe(string(r.Category)), safe(string(r.Reason)),
			safe(strings.ReplaceAll(string(r.Owner), "_", " ")))
	}
	return t.Flush()
}

// safe is a word of a log, which anybody may have written, without what a terminal obeys.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
