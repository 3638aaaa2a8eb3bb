package history

import (
	"errors"
	"os"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
)

// The housekeeping.
const (
	batchMost = 512                    // events in a transaction
	pause     = 100 * time.Millisecond // between transactions, so that each has more in it
	tidyEvery = time.Minute
	tidyMost  = 5000 // rows that go in one transaction
)

// The result codes of SQLite that mean a file which is not worth keeping (https://sqlite.org/rescode.html).
const (
	codeCorrupt = 11
	codeNotADB  = 26
)

// writer has the connection that writes. It is for one goroutine.
type writer struct {
	h    *History
	conn *sqlite.Conn // nil: to be opened
}

// ready opens the file if it is not open, and reports whether it is now. A file that is damaged, or that
// another version wrote, is begun anew.
func (w *writer) ready() bool {
	if w.conn != nil {
		return true
	}
	c, err := openFile(w.h.o.Path)
	if worthless(err) {
		w.h.o.Log.Warn("the history of the page cannot be read and is begun anew", "file", w.h.o.Path,
			"err", err)
		if err = w.h.remove(); err == nil {
			c, err = openFile(w.h.o.Path)
		}
	}
	w.conn = c
	w.h.state(err)
	return err == nil
}

// worthless reports whether err is of a file that is to be begun anew.
func worthless(err error) bool {
	var other otherFormat
	if errors.As(err, &other) {
		return other.id == applicationID
	}
	code := sqlite.Code(err)
	return code == codeCorrupt || code == codeNotADB
}

// remove removes the files. Nobody reads them at that time.
func (h *History) remove() error {
	h.reading.Lock()
	defer h.reading.Unlock()
	if h.reader != nil {
		h.reader.Close()
		h.reader = nil
	}
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(h.o.Path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// state notes whether the file can be written. A new fault is logged.
func (h *History) state(err error) {
	h.mu.Lock()
	was := h.fault
	h.fault = err
	h.mu.Unlock()
	if err != nil && was == nil {
		h.o.Log.Warn("the history of the page cannot be written: what happens meanwhile is not in it",
			"file", h.o.Path, "err", err)
	}
}

// run writes what is recorded until Close, and then what still waits.
func (w *writer) run() {
	defer close(w.h.ended)
	defer func() {
		if w.conn != nil {
			w.conn.Close()
		}
	}()
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		select {
		case r := <-w.h.queue:
			rows := w.gather(r)
			w.write(rows)
			if len(rows) == batchMost {
				continue // there is more
			}
		case j := <-w.h.work:
			w.perform(j)
			continue
		case <-tidy.C:
			w.tidy()
			continue
		case <-w.h.closing:
			for rows := w.gather(); len(rows) > 0; rows = w.gather() {
				w.write(rows)
			}
			return
		}
		select {
		case <-time.After(pause):
		case <-w.h.closing:
		}
	}
}

// gather takes what else waits.
func (w *writer) gather(rows ...row) []row {
	for len(rows) < batchMost {
		select {
		case r := <-w.h.queue:
			rows = append(rows, r)
		default:
			w.taken(rows)
			return rows
		}
	}
	w.taken(rows)
	return rows
}

// taken makes room for as much again.
func (w *writer) taken(rows []row) {
	for i := range rows {
		w.h.waiting.Add(-int64(len(rows[i].body)))
	}
}

// write stores rows as one transaction, and tells those who listen.
func (w *writer) write(rows []row) {
	first, err := w.store(rows)
	if err != nil {
		w.h.lost.Add(uint64(len(rows)))
		return
	}
	if !w.h.feed.wanted() {
		return
	}
	for i := range rows {
		if e, err := eventOf([]byte(rows[i].body)); err == nil {
			w.h.feed.send(relay.NumberedEvent{Number: first + int64(i), Event: e})
		}
	}
}

// store stores rows, and returns the number of the first.
func (w *writer) store(rows []row) (first int64, err error) {
	if !w.ready() {
		return 0, errors.New("not open")
	}
	relayed := map[string]int64{}
	err = w.transaction(func(c *sqlite.Conn) error {
		for i := range rows {
			if r := &rows[i]; r.upstream != "" {
				relayed[r.upstream] = max(relayed[r.upstream], r.at)
			}
		}
		for upstream, at := range relayed {
			if _, err := c.Exec("INSERT INTO relayed (upstream, at) VALUES (?1, ?2) "+
				"ON CONFLICT DO UPDATE SET at=?2", upstream, at); err != nil {
				return err
			}
		}
		for i := range rows {
			if err := insert(c, &rows[i]); err != nil {
				return err
			}
		}
		last, _, err := c.Integer("SELECT last_insert_rowid()")
		first = last - int64(len(rows)) + 1
		return err
	})
	return first, err
}

// asides are the kinds of events that repeat a diagnosis which another event has already told.
func asides() []relay.EventKind {
	return []relay.EventKind{relay.EventDSN, relay.EventDelayed, relay.EventLane}
}

// insert stores one row. The number is the last one inserted, so the tallies, which have none, come first.
func insert(c *sqlite.Conn, r *row) error {
	_, err := c.Exec("INSERT INTO tally (slot, kind, category, reason, count, first, last) "+
		"VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5) ON CONFLICT DO UPDATE SET count=count+1, "+
		"first=min(first, ?5), last=max(last, ?5)", r.at/slotLength, string(r.kind), r.category, r.reason,
		r.at)
	if err == nil && r.reason != "" && !slices.Contains(asides(), r.kind) {
		_, err = c.Exec("INSERT INTO sample (category, reason, at, body) VALUES (?1, ?2, ?3, ?4) "+
			"ON CONFLICT DO UPDATE SET at=?3, body=?4", r.category, r.reason, r.at, []byte(r.body))
	}
	if err == nil {
		_, err = c.Exec("INSERT INTO event (at, kind, id, mail, rcpt, category, reason, body) "+
			"VALUES (?,?,?,?,?,?,?,?)", r.at, string(r.kind), r.id, r.mail, r.rcpt, r.category, r.reason,
			[]byte(r.body))
	}
	return err
}

// transaction does something and commits it. The file is opened anew after an error.
func (w *writer) transaction(do func(*sqlite.Conn) error) error {
	_, err := w.conn.Exec("BEGIN IMMEDIATE")
	if err == nil {
		err = do(w.conn)
	}
	if err == nil {
		_, err = w.conn.Exec("COMMIT")
	}
	if err == nil {
		w.h.state(nil)
		return nil
	}
	w.h.state(err)
	w.conn.Close()
	w.conn = nil
	if worthless(err) {
		w.h.remove()
	}
	return err
}

// tidy removes what is too old and what is too much.
func (w *writer) tidy() {
	if !w.ready() {
		return
	}
	limits, now := w.h.o.Limits(), w.h.o.Now()
	oldest := now.Add(-limits.Keep).UnixMilli()
	for more := true; more; {
		more = false
		err := w.transaction(func(c *sqlite.Conn) error {
			if _, err := c.Exec("DELETE FROM tally WHERE slot < ?", oldest/slotLength); err != nil {
				return err
			}
			if _, err := c.Exec("DELETE FROM sample WHERE at < ?", oldest); err != nil {
				return err
			}
			n, err := c.Exec("DELETE FROM event WHERE number IN (SELECT number FROM event "+
				"WHERE at < ?1 OR number <= (SELECT max(number) FROM event) - ?2 ORDER BY number LIMIT ?3)",
				oldest, int64(limits.MaxEvents), int64(tidyMost))
			more = n == tidyMost
			return err
		})
		if err != nil {
			return
		}
	}
}
