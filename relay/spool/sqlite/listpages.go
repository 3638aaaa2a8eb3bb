package sqlite

import (
	"database/sql/driver"
	"errors"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// pageRows is how many messages are read at a time: a reader is short-lived, so that the log can be cut.
const pageRows = 128

// pageFunc reads the next page of messages in the order of their ids; none is the end.
type pageFunc func(*conn) ([]*spool.Record, error)

// pagesOf reads those among which f selects.
func pagesOf(f relay.QueueFilter) pageFunc {
	if len(f.IDs) > 0 {
		return idPages(f.IDs, f.After)
	}
	if f.Lane != "" || f.Waiting || !f.OlderThan.IsZero() {
		return selectedPages(f)
	}
	return allPages(f.After)
}

// allPages reads all messages, page by page.
func allPages(after string) pageFunc {
	return func(c *conn) (records []*spool.Record, err error) {
		records, err = c.records("SELECT "+columns+" FROM message WHERE id>? ORDER BY id LIMIT ?", after,
			int64(pageRows))
		if err == nil && len(records) > 0 {
			after = records[len(records)-1].ID
		}
		return records, err
	}
}

// lookedAt is how many messages a statement looks at when most of them may not be selected.
const lookedAt = 4096

// selectedPages reads the messages that f selects by lane, by whether they wait and by age, page by page: a
// large backlog of others costs a look at each of their rows, without their recipients.
func selectedPages(f relay.QueueFilter) pageFunc {
	after, older := f.After, int64(spool.Never)
	if !f.OlderThan.IsZero() {
		older = spool.Nanos(f.OlderThan)
	}
	return func(c *conn) (records []*spool.Record, err error) {
		for end := false; !end && len(records) == 0; {
			upTo := ""
			err := c.query(rowInto(&upTo), "SELECT id FROM message WHERE id>? ORDER BY id LIMIT 1 OFFSET ?", after,
				int64(lookedAt))
			if err != nil {
				return nil, err
			}
			if end = upTo == ""; end {
				upTo = lastID
			}
			records, err = c.records("SELECT "+columns+" FROM message WHERE id>?1 AND id<=?2 AND (?3='' OR lane=?3)"+
				" AND (?4=0 OR due IS NOT NULL) AND arrived<?5 ORDER BY id LIMIT ?6",
				after, upTo, f.Lane, asInteger(f.Waiting), older, int64(pageRows))
			if err != nil {
				return nil, err
			}
			if after = upTo; len(records) == pageRows {
				after = records[pageRows-1].ID
			}
		}
		return records, nil
	}
}

// lastID is greater than every id.
const lastID = "~"

// asInteger is b as SQLite has it.
func asInteger(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// records reads the rows of columns that a query gives.
func (c *conn) records(query string, args ...driver.Value) (records []*spool.Record, err error) {
	err = c.query(func(row []driver.Value) error {
		r, err := scanRecord(row)
		if err != nil {
			return err
		}
		records = append(records, r)
		return nil
	}, query, args...)
	return records, err
}

// idPages reads the messages of ids, page by page.
func idPages(ids []string, after string) pageFunc {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	ids = slices.DeleteFunc(ids, func(id string) bool { return id <= after })
	return func(c *conn) (records []*spool.Record, err error) {
		i := 0
		for ; i < len(ids) && len(records) < pageRows; i++ {
			r, err := c.record(ids[i])
			if errors.Is(err, relay.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			records = append(records, r)
		}
		ids = ids[i:]
		return records, nil
	}
}
