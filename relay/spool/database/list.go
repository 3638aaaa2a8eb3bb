package database

import (
	"database/sql/driver"
	"errors"
	"slices"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// PageRows is how many messages are read at a time: a reader is short-lived, so that the log can be cut.
const PageRows = 128

// Page reads the next page of messages in the order of their ids; none is the end.
type Page func(*Conn) ([]*spool.Record, error)

// Pages reads those among which f selects.
func Pages(f relay.QueueFilter) Page {
	if len(f.IDs) > 0 {
		return idPages(f.IDs, f.After)
	}
	if f.Lane != "" || f.Waiting || !f.OlderThan.IsZero() {
		return selectedPages(f)
	}
	return AllPages(f.After)
}

// AllPages reads all messages, page by page.
func AllPages(after string) Page {
	return func(c *Conn) (records []*spool.Record, err error) {
		records, err = c.records("SELECT "+c.columns()+" FROM message WHERE id>? ORDER BY id LIMIT ?", after,
			int64(PageRows))
		if err == nil && len(records) > 0 {
			after = records[len(records)-1].ID
		}
		return records, err
	}
}

// LookedAt is how many messages a statement looks at when most of them may not be selected.
const LookedAt = 4096

// selectedPages reads the messages that f selects by lane, by whether they wait and by age, page by page: a
// large backlog of others costs a look at each of their rows, without their recipients.
func selectedPages(f relay.QueueFilter) Page {
	after, older := f.After, int64(spool.Never)
	if !f.OlderThan.IsZero() {
		older = spool.Nanos(f.OlderThan)
	}
	return func(c *Conn) (records []*spool.Record, err error) {
		for end := false; !end && len(records) == 0; {
			upTo := ""
			err := c.Query(rowInto(&upTo), "SELECT id FROM message WHERE id>? ORDER BY id LIMIT 1 OFFSET ?",
				after, int64(LookedAt))
			if err != nil {
				return nil, err
			}
			if end = upTo == ""; end {
				upTo = lastID
			}
			records, err = c.records("SELECT "+c.columns()+" FROM message WHERE id>?1 AND id<=?2"+
				" AND (?3='' OR lane=?3) AND (?4=0 OR due IS NOT NULL) AND arrived<?5 ORDER BY id LIMIT ?6",
				after, upTo, f.Lane, asInteger(f.Waiting), older, int64(PageRows))
			if err != nil {
				return nil, err
			}
			if after = upTo; len(records) == PageRows {
				after = records[PageRows-1].ID
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

// records reads the rows of Columns that a query gives.
func (c *Conn) records(query string, args ...driver.Value) (records []*spool.Record, err error) {
	err = c.Query(func(row []driver.Value) error {
		r, err := ScanRecord(row)
		if err != nil {
			return err
		}
		records = append(records, r)
		return nil
	}, query, args...)
	return records, err
}

// idPages reads the messages of ids, which are those of messages or of mails, page by page.
func idPages(asked []string, after string) Page {
	var ids []string
	found := false
	return func(c *Conn) (records []*spool.Record, err error) {
		if !found {
			if ids, err = c.messagesOf(asked); err != nil {
				return nil, err
			}
			found = true
			ids = slices.DeleteFunc(ids, func(id string) bool { return id <= after })
		}
		i := 0
		for ; i < len(ids) && len(records) < PageRows; i++ {
			r, err := c.Record(ids[i])
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

// messagesOf are the ids of the messages, and of those of the mails, that have these ids, in their order.
func (c *Conn) messagesOf(ids []string) (all []string, err error) {
	all = slices.Clone(ids)
	if c.format == 1 || c.format == 2 {
		ids = nil // a mail had one message
	}
	for _, mail := range ids {
		err := c.Query(func(row []driver.Value) error {
			id, _ := row[0].(string)
			all = append(all, id)
			return nil
		}, "SELECT id FROM message WHERE mail=?", mail)
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
