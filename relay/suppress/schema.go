package suppress

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
)

// applicationID says that the file is one of ours: "mwsu" (PRAGMA application_id).
const applicationID = 0x6d777375

// format is the number of the table's layout (PRAGMA user_version).
const format = 1

// perm is for files that name people's addresses.
const perm = 0o600

// schema is the layout. Times are nanoseconds since 1970; an entry that never expires has 0.
const schema = `
CREATE TABLE entry (
	id         INTEGER PRIMARY KEY,
	scope      TEXT    NOT NULL,
	address    TEXT    NOT NULL,
	folded     TEXT    NOT NULL,  -- the address in lower case
	state      TEXT    NOT NULL,  -- noted, suppressed, trial
	reason     TEXT    NOT NULL,
	source     TEXT    NOT NULL,
	first      INTEGER NOT NULL,
	last       INTEGER NOT NULL,
	hits       INTEGER NOT NULL,
	reply      BLOB    NOT NULL,
	message    TEXT    NOT NULL,
	upstream   TEXT    NOT NULL,
	rule       TEXT    NOT NULL,
	confidence TEXT    NOT NULL,
	note       TEXT    NOT NULL,
	step       INTEGER NOT NULL,
	expires    INTEGER NOT NULL
) STRICT;
CREATE INDEX entry_folded ON entry (folded);
CREATE INDEX entry_expires ON entry (expires);
`

// columns are those of an entry, in the order of values and entryIn.
const columns = "scope, address, folded, state, reason, source, first, last, hits, reply, message, " +
	"upstream, rule, confidence, note, step, expires"

// row is an entry with its number.
type row struct {
	id int64
	relay.Suppression
}

// entry is that of a row; nil if there is none.
func (r *row) entry() *entry {
	if r == nil {
		return nil
	}
	return &r.Suppression
}

// values are the columns of an entry.
func values(s *relay.Suppression) []driver.Value {
	return []driver.Value{
		s.Scope, s.Address, folded(s.Address), string(s.State), string(s.Reason), s.Source,
		nanos(s.FirstSeen), nanos(s.LastSeen), int64(s.Hits), []byte(s.Reply), s.Message, s.Upstream, s.Rule,
		string(s.Confidence), s.Note, int64(s.Step), nanos(s.Expires),
	}
}

// entryIn reads a row of id and columns.
func entryIn(v []driver.Value) row {
	text := func(i int) string { s, _ := v[i].(string); return s }
	number := func(i int) int64 { n, _ := v[i].(int64); return n }
	reply, _ := v[10].([]byte)
	return row{number(0), relay.Suppression{
		Scope: text(1), Address: text(2), State: relay.SuppressionState(text(4)),
		Reason: diagnose.Reason(text(5)), Source: text(6), FirstSeen: timeOf(number(7)),
		LastSeen: timeOf(number(8)), Hits: int(number(9)), Reply: string(reply), Message: text(11),
		Upstream: text(12), Rule: text(13), Confidence: diagnose.Confidence(text(14)), Note: text(15),
		Step: int(number(16)), Expires: timeOf(number(17)),
	}}
}

// findIn is the entry of a scope and a key; nil if there is none.
func (l *List) findIn(c *sqlite.Conn, scope, key string) (*row, error) {
	var found *row
	err := c.Query(func(v []driver.Value) error {
		if r := entryIn(v); r.Scope == scope && l.key(r.Address) == key {
			found = &r
			return sqlite.ErrStop
		}
		return nil
	}, "SELECT id, "+columns+" FROM entry WHERE folded=? ORDER BY id", folded(key))
	return found, err
}

// openFile opens the database.
func openFile(name string) (*sqlite.Conn, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, perm) // SQLite would make it readable to others
	if err != nil {
		return nil, err
	}
	f.Close()
	c, err := sqlite.Open(name, "mode=rw", "busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL",
		"trusted_schema=OFF", "cache_size=-2048", "journal_size_limit=4194304")
	if err == nil {
		if err = ensureSchema(c); err != nil {
			c.Close()
		}
	}
	if err != nil {
		return nil, named(name, err)
	}
	return c, nil
}

// ensureSchema makes the table in a new database, and refuses one that is not ours or of a later format.
func ensureSchema(c *sqlite.Conn) error {
	var app, version, tables int64
	for query, n := range map[string]*int64{
		"PRAGMA application_id": &app, "PRAGMA user_version": &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		var err error
		if *n, _, err = c.Integer(query); err != nil {
			return err
		}
	}
	switch {
	case app == applicationID && version > format:
		return fmt.Errorf("it has format %d, of a later release; this one reads up to %d: "+
			"run that release again, or move the file away, which empties the list", version, format)
	case app == applicationID && version == format:
		return nil
	case app != 0 || version != 0 || tables != 0:
		return fmt.Errorf("not a suppression list: application id %#x, format %d, %d tables and indexes", app,
			version, tables)
	}
	return c.Run(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		schema, applicationID, format))
}

// The result codes of SQLite that concern the database as a whole (https://www.sqlite.org/rescode.html).
const (
	codeReadOnly = 8
	codeIOErr    = 10
	codeCorrupt  = 11
	codeCantOpen = 14
	codeNotADB   = 26
)

// isBroken reports whether err concerns the database as a whole, so that it is opened anew.
func isBroken(err error) bool {
	switch sqlite.Code(err) {
	case codeReadOnly, codeIOErr, codeCorrupt, codeCantOpen, codeNotADB:
		return true
	}
	return false
}

// named says which file an error is about, and what helps if that is damaged.
func named(name string, err error) error {
	if code := sqlite.Code(err); code == codeCorrupt || code == codeNotADB {
		return fmt.Errorf("%s is damaged: move it and its -wal file away, which empties the list, and "+
			"import what mailwhy suppress export wrote before: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// replaced reports whether a file that was opened has its name no more: what is written to it would be lost.
func replaced(name string, file fs.FileInfo) bool {
	now, err := os.Stat(name)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, file)
}

// nanos is a time as it is stored; the zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// timeOf undoes nanos.
func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
