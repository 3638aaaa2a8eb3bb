// Package queueview is `mailwhy queue summary`: it counts what is in the queue by what it waits for, so that
// a queue of thousands is read at a glance.
package queueview

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// Row counts recipients that wait for the same: of one domain, in one state, for one reason.
type Row struct {
	Domain     string            `json:"domain"` // in lower case
	State      relay.State       `json:"state"`
	Category   diagnose.Category `json:"category,omitempty"`
	Reason     diagnose.Reason   `json:"reason,omitempty"` // of the last attempt; none before there was one
	Recipients int               `json:"recipients"`
	Younger    [3]int            `json:"-"` // than each of ages, and not than the one before
	Oldest     time.Time         `json:"oldest"`
}

// ages are the bounds of Row.Younger.
var ages = [3]time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour}

// Summary counts what is in a queue.
type Summary struct {
	now  time.Time
	rows map[Row]*Row // by a Row with nothing but what its recipients have in common
}

// New makes an empty Summary. Ages are counted to now.
func New(now time.Time) *Summary { return &Summary{now: now, rows: map[Row]*Row{}} }

// Add counts the recipients of a message for which something is still to be done.
func (s *Summary) Add(m admin.Summary) error {
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.State.Final() {
			continue
		}
		kind := Row{Domain: domainOf(r.Address), State: r.State, Category: r.Category, Reason: r.Reason}
		row := s.rows[kind]
		if row == nil {
			row = &Row{}
			*row = kind
			s.rows[kind] = row
		}
		s.count(row, m.Arrived)
	}
	return nil
}

// count counts one recipient.
func (s *Summary) count(row *Row, arrived time.Time) {
	row.Recipients++
	if row.Oldest.IsZero() || arrived.Before(row.Oldest) {
		row.Oldest = arrived
	}
	for i, age := range ages {
		if s.now.Sub(arrived) < age {
			row.Younger[i]++
			return
		}
	}
}

// domainOf is the domain of an address.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// Rows are the rows, the largest first.
func (s *Summary) Rows() (rows []Row) {
	for _, r := range s.rows {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Recipients, a.Recipients), cmp.Compare(a.Domain, b.Domain),
			cmp.Compare(a.State, b.State), cmp.Compare(a.Reason, b.Reason))
	})
	return rows
}

// Write writes the rows as a table, or as a JSON object a line. Foreign text is made safe by safe.
func (s *Summary) Write(w io.Writer, asJSON bool, safe func(string) string) error {
	rows := s.Rows()
	if asJSON {
		out := json.NewEncoder(w)
		for _, r := range rows {
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "the queue is empty")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "RECIPIENTS\t<5m\t<1h\t<1d\tOLDER\t  DOMAIN, STATE, REASON")
	all := Row{Domain: "all"}
	for _, r := range rows {
		all.Recipients += r.Recipients
		for i, n := range r.Younger {
			all.Younger[i] += n
		}
		r.line(t, safe)
	}
	if len(rows) > 1 {
		all.line(t, safe)
	}
	return t.Flush()
}

// line writes a row.
func (r *Row) line(w io.Writer, safe func(string) string) {
	older := r.Recipients - r.Younger[0] - r.Younger[1] - r.Younger[2]
	parts := []string{safe(r.Domain)}
	if r.State != "" {
		parts = append(parts, string(r.State))
	}
	if r.Reason != "" {
		parts = append(parts, string(r.Reason))
	}
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t  %s\n", r.Recipients, r.Younger[0], r.Younger[1], r.Younger[2],
		older, strings.Join(parts, ", "))
}
