package recall

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/sqlite"
)

// State is the state of a report.
type State string

// The states of a report. But for those that wait, they are kept for a while, for people to look at and to
// replay.
const (
	StateWaiting    State = "waiting"
	StateUnmatched  State = "unmatched"  // it is about no message that is remembered
	StateUnreadable State = "unreadable" // it, or a part of it, cannot be read
	StateUnproven   State = "unproven"   // its origin could not be checked
)

// Report is a report that waits or is kept: as it came, or one of the events that it was read as.
type Report struct {
	ID       int64
	State    State
	Came     time.Time // by our clock
	Due      time.Time // when it is looked at; zero for one that was not yet, or is no more
	Tries    int
	Source   string          // as configured
	Provider string          // the kind of that source
	Why      string          // of one that is kept, or that waits for longer
	Recorded bool            // see Change
	Damaged  string          // why what was stored cannot be read; there is neither Raw nor Event then
	Raw      *feedback.Raw   // nil for an event
	Event    *feedback.Event // nil for one that has not been read
}

// Append makes a report durable. It implements webhook.Journal. The error wraps ErrFull when no more fits.
func (s *Store) Append(ctx context.Context, raw *feedback.Raw) error {
	body, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	full := false
	err = s.w.write(ctx, func(t *tx) error {
		var err error
		if full, err = t.makeRoom(s.o.Limits(), int64(len(body))); err != nil || full {
			return err
		}
		return t.addReport("INSERT INTO report (state, came, due, source, provider, body)"+
			" VALUES ('waiting',?,0,?,?,?)", len(body), nanos(raw.Time), raw.Source, raw.Provider, body)
	})
	if err == nil && full {
		err = fmt.Errorf("%w: too many reports wait", ErrFull)
	}
	if err == nil {
		s.o.Waiting()
	}
	return err
}

// openAgain is when a database that could not be opened is tried again.
const openAgain = 5 * time.Second

// Due is Reader.Due. While the database cannot be used nothing is due; Fault says why.
func (s *Store) Due(ctx context.Context, now time.Time, most int) ([]Report, time.Time, error) {
	before := s.Fault()
	due, next, err := s.Reader.Due(ctx, now, most)
	if before == nil && (isBroken(err) || errors.Is(err, fs.ErrNotExist)) {
		s.w.suspect.Store(true)
		_ = s.w.write(ctx, func(*tx) error { return nil }) // so Fault is known
	}
	if err != nil && s.Fault() != nil {
		return nil, now.Add(openAgain), nil
	}
	return due, next, err
}

// addReport inserts a report with a body of so many bytes, unless its key is there.
func (t *tx) addReport(insert string, size int, args ...driver.Value) error {
	n, err := t.Exec(insert+" ON CONFLICT DO NOTHING", args...)
	t.n.reports += n
	t.n.waiting += n
	t.n.bytes += n * int64(size)
	return err
}

// evictMost is how many reports make room at a time.
const evictMost = 64

// makeRoom makes room for a report of so many bytes, and reports whether there is none. What is kept goes
// first, then what was looked for in vain the most often; what was never looked at stays.
func (t *tx) makeRoom(l Limits, size int64) (full bool, err error) {
	for t.n.reports+1 > l.MaxReports || t.n.bytes+size > l.MaxBytes {
		n, err := t.dropReports("SELECT seq FROM report WHERE state<>'waiting' OR tries>0"+
			" ORDER BY state='waiting', tries DESC, seq LIMIT ?", int64(evictMost))
		if err != nil || n == 0 {
			return n == 0, err
		}
	}
	return false, nil
}

// dropReports removes the reports that a query selects, and returns how many.
func (t *tx) dropReports(selected string, args ...driver.Value) (n int64, err error) {
	err = t.Query(func(row []driver.Value) error {
		size, _ := row[0].(int64)
		n++
		t.n.reports--
		t.n.bytes -= size
		if row[1] == string(StateWaiting) {
			t.n.waiting--
		}
		return nil
	}, "DELETE FROM report WHERE seq IN ("+selected+") RETURNING length(body), state", args...)
	return n, err
}

// dueBytes bounds what Due returns at a time, unless one report is larger.
const dueBytes = 4 << 20

// Due returns up to most reports that are to be looked at now, the first due first, and when the next one is:
// zero if none waits.
func (r *Reader) Due(ctx context.Context, now time.Time, most int) (due []Report, next time.Time, err error) {
	err = r.read(ctx, func(c *sqlite.Conn) error {
		due, next = nil, time.Time{}
		size := 0
		return c.QueryContext(ctx, func(row []driver.Value) error {
			body, _ := row[bodyColumn].([]byte)
			size += len(body)
			report := scanReport(row)
			if report.Due.After(now) || len(due) == most || len(due) > 0 && size > dueBytes {
				if next = report.Due; next.Before(now) {
					next = now
				}
				return sqlite.ErrStop
			}
			due = append(due, report)
			return nil
		}, "SELECT "+reportColumns+" FROM report WHERE due IS NOT NULL ORDER BY due, seq LIMIT ?",
			int64(most)+1)
	})
	return due, next, err
}

// reportColumns are what scanReport reads.
const (
	reportColumns = "seq, state, came, due, tries, source, provider, why, key, body, recorded"
	bodyColumn    = 9
)

// scanReport reads a row of reports.
func scanReport(row []driver.Value) Report {
	var numbers [5]int64
	for i, at := range [...]int{0, 2, 3, 4} {
		numbers[i], _ = row[at].(int64)
	}
	r := Report{ID: numbers[0], Came: timeOf(numbers[1]), Due: timeOf(numbers[2]), Tries: int(numbers[3])}
	state, _ := row[1].(string)
	r.State = State(state)
	r.Source, _ = row[5].(string)
	r.Provider, _ = row[6].(string)
	r.Why, _ = row[7].(string)
	body, _ := row[bodyColumn].([]byte)
	r.Recorded = row[10] == int64(1)
	var err error
	if row[8] != nil {
		r.Event = new(feedback.Event)
		err = json.Unmarshal(body, r.Event)
	} else {
		r.Raw = new(feedback.Raw)
		err = json.Unmarshal(body, r.Raw)
	}
	if err != nil {
		r.Raw, r.Event, r.Damaged = nil, nil, "what was stored is damaged: "+err.Error()
	}
	return r
}
