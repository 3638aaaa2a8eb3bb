package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"mailwhy/relay/spool/files"
	"slices"
	"sync/atomic"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// pageRows is how many messages are read at a time: a reader is short-lived, so that the log can be cut.
const pageRows = 128

// List implements relay.Lister. Messages that come or go while it runs may or may not be among those
// listed; one that cannot be read is passed over here, and quarantined when it is leased.
func (s *Spool) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	return list(ctx, s.read, pagesOf(f), f, each)
}

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

// list is List over pages, reading by read.
func list(ctx context.Context, read func(func(*conn) error) error, pages pageFunc, f relay.QueueFilter,
	each func(*relay.Message) bool) error {
	found := 0
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var records []*spool.Record
		err := read(func(c *conn) (err error) {
			records, err = pages(c)
			return err
		})
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			m, err := r.Decode()
			if err != nil || !spool.Selects(f, m) {
				continue
			}
			if found++; !each(m) || found == f.Limit {
				return nil
			}
		}
	}
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
			err := c.query(rowInto(&upTo), "SELECT id FROM message WHERE id>? ORDER BY id LIMIT 1 OFFSET ?",
				after,
				int64(lookedAt))
			if err != nil {
				return nil, err
			}
			if end = upTo == ""; end {
				upTo = lastID
			}
			records, err = c.records("SELECT "+columns+
				" FROM message WHERE id>?1 AND id<=?2 AND (?3='' OR lane=?3)"+
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
			r, err := c.one("id=?", ids[i])
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

// stat counts what is committed. It is safe for concurrent use.
type stat struct{ messages, bytes, notices, quarantined atomic.Int64 }

func (st *stat) set(n counts) {
	st.messages.Store(n.messages)
	st.bytes.Store(n.bytes)
	st.notices.Store(n.notices)
}

// Stat implements relay.Lister.
func (s *Spool) Stat(context.Context) (st relay.SpoolStat, err error) {
	err = s.read(func(c *conn) (err error) { // first: it has all counted
		st.Oldest, err = c.oldest()
		return err
	})
	st.Messages, st.Bytes, st.Notices = s.stat.messages.Load(), s.stat.bytes.Load(), s.stat.notices.Load()
	st.Quarantined = s.stat.quarantined.Load()
	st.Leased = s.queue.Leased()
	if err != nil {
		return st, err
	}
	st.FreeBytes, err = files.FreeBytes(s.o.Dir)
	return st, err
}

// oldest is the arrival of the first message in id order: ids begin with the time.
func (c *conn) oldest() (time.Time, error) {
	n, ok, err := c.integer("SELECT arrived FROM message ORDER BY id LIMIT 1")
	if err != nil || !ok {
		return time.Time{}, err
	}
	return spool.TimeOf(n), nil
}
