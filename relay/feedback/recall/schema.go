package recall

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"mailwhy/relay/internal/sqlite"
)

// applicationID says that the file is one of ours: "mwrc" (PRAGMA application_id).
const applicationID = 0x6d777263

// format is the number of the tables' layout (PRAGMA user_version).
const format = 1

// schema is the layout. Times are nanoseconds since 1970, days are counted from there.
//
// The keys of messages are found by eight bytes of their hash, in each part of the table: some thousands of
// messages are a part. So new keys come to a few pages at the end, however many there are, and old ones go by
// the part. What a hash finds is compared with the message itself.
const schema = `
CREATE TABLE report (            -- what came and has not had its effect, or could have none
	seq      INTEGER PRIMARY KEY,
	key      BLOB UNIQUE,        -- of an event: a hash of source, provider and id; NULL: not read yet
	state    TEXT    NOT NULL,   -- waiting, unmatched, unreadable, unproven
	came     INTEGER NOT NULL,
	due      INTEGER,            -- when it is looked at; NULL: no more
	tries    INTEGER NOT NULL DEFAULT 0,
	source   TEXT    NOT NULL,   -- as configured
	provider TEXT    NOT NULL,
	why      TEXT    NOT NULL DEFAULT '',
	recorded INTEGER NOT NULL DEFAULT 0,  -- 1: as one that is about no message that is remembered
	body     BLOB    NOT NULL    -- JSON: a feedback.Event where there is a key, else a feedback.Raw
) STRICT;
CREATE INDEX report_due ON report (due) WHERE due IS NOT NULL;
CREATE TABLE message (           -- what was relayed
	seq  INTEGER PRIMARY KEY,
	id   TEXT    NOT NULL UNIQUE,
	day  INTEGER NOT NULL,       -- when it was relayed last
	body BLOB    NOT NULL        -- see record.go
) STRICT;
CREATE INDEX message_day ON message (day);
CREATE TABLE key (
	part    INTEGER NOT NULL,    -- message >> 14
	hash    INTEGER NOT NULL,
	message INTEGER NOT NULL,
	PRIMARY KEY (part, hash, message)
) STRICT, WITHOUT ROWID;
CREATE TABLE outcome (           -- of recipients of which something came back
	message   INTEGER NOT NULL,
	recipient INTEGER NOT NULL,
	state     TEXT    NOT NULL,
	kinds     TEXT    NOT NULL,  -- what was told, the weak apart
	PRIMARY KEY (message, recipient)
) STRICT, WITHOUT ROWID;
CREATE TABLE told (
	message   INTEGER NOT NULL,
	key       BLOB    NOT NULL,  -- of the event, as in report
	n         INTEGER NOT NULL,  -- in the order in which they came
	recipient INTEGER NOT NULL,
	state     TEXT    NOT NULL,  -- that it says
	second    INTEGER NOT NULL,  -- when it happened, in seconds since 1970
	body      BLOB    NOT NULL,  -- JSON: a feedback.Told
	PRIMARY KEY (message, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE owed (              -- the outbox
	message INTEGER NOT NULL,
	topic   TEXT    NOT NULL,
	key     TEXT    NOT NULL,
	due     INTEGER NOT NULL,
	payload BLOB,
	told    BLOB    NOT NULL,    -- JSON: the feedback.Told that it is owed for
	PRIMARY KEY (message, topic, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX owed_due ON owed (topic, due);
CREATE TABLE answer (            -- reports that answer entries of the outbox, on their way to the spool
	seq      INTEGER PRIMARY KEY,
	messages BLOB NOT NULL,      -- JSON
	content  BLOB NOT NULL
) STRICT;
`

// The bounds of the write-ahead log. A page that changes often is copied into the database once for all
// changes in the log.
const (
	logPages = 4000     // that are copied at a time
	logLimit = 16 << 20 // bytes to which it is cut back
)

// perm is the mode of the database: others' mail is nobody's business.
const perm = 0o600

// openWriter opens the database for writing, and makes it if it is not there.
func openWriter(name string) (*sqlite.Conn, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	c, err := sqlite.Open(name, "mode=rwc", "journal_mode=WAL", "synchronous=FULL", "cache_size=-8192",
		"busy_timeout=5000", "temp_store=MEMORY", "trusted_schema=OFF",
		fmt.Sprintf("journal_size_limit=%d", logLimit), fmt.Sprintf("wal_autocheckpoint=%d", logPages))
	if err != nil {
		return nil, named(name, err)
	}
	if err := ensureSchema(c); err != nil {
		c.Close()
		return nil, named(name, err)
	}
	return c, nil
}

// openReader opens the database for reading, beside a writer or without one.
func openReader(name string) (*sqlite.Conn, error) {
	how := "mode=ro"
	if _, err := os.Stat(name + "-wal"); errors.Is(err, fs.ErrNotExist) {
		how += "&immutable=1" // nobody writes, and the files of the log need not be made
	}
	c, err := sqlite.Open(name, how, "query_only=ON", "cache_size=-2048", "busy_timeout=5000",
		"trusted_schema=OFF")
	if err != nil {
		return nil, named(name, err)
	}
	version, err := versionOf(c)
	switch {
	case err != nil:
	case version == 0:
		err = errors.New("not a store of feedback")
	default:
		err = checkTables(c)
	}
	if err != nil {
		c.Close()
		return nil, named(name, err)
	}
	return c, nil
}

// named says which file an error is about, and what helps if that is damaged.
func named(name string, err error) error {
	if code := sqlite.Code(err); code == codeCorrupt || code == codeNotADB {
		return fmt.Errorf("%s is damaged: move it and its -wal file away, which forgets what came back: %w",
			name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// versionOf is the format of the database, 0 if it is empty. It refuses one that is not ours or is of a later
// format.
func versionOf(c *sqlite.Conn) (int64, error) {
	var app, version, tables int64
	for query, n := range map[string]*int64{
		"PRAGMA application_id": &app, "PRAGMA user_version": &version,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		var err error
		if *n, _, err = c.Integer(query); err != nil {
			return 0, err
		}
	}
	switch {
	case app == applicationID && version > format:
		return 0, fmt.Errorf("it has format %d, of a later release; this one reads up to %d: "+
			"run that release again, or move the file away, which forgets what came back", version, format)
	case app == applicationID && version > 0:
		return version, nil
	case app != 0 || version != 0 || tables != 0:
		return 0, fmt.Errorf("not a store of feedback: application id %#x, format %d, %d tables and indexes",
			app, version, tables)
	}
	return 0, nil
}

// ensureSchema makes the tables in a new database, and checks those of another one.
func ensureSchema(c *sqlite.Conn) error {
	switch version, err := versionOf(c); {
	case err != nil:
		return err
	case version == format:
		return checkTables(c)
	}
	return c.Run(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		schema, applicationID, format))
}

// checkTables reports what the database lacks of the schema: somebody changed it with another program.
func checkTables(c *sqlite.Conn) error {
	blank, err := sqlite.Open(":memory:", "mode=memory")
	if err != nil {
		return err
	}
	defer blank.Close()
	if err := blank.Run(schema); err != nil {
		return err
	}
	want, err := columnsOf(blank)
	if err != nil {
		return err
	}
	there, err := columnsOf(c)
	if err != nil {
		return err
	}
	for _, one := range want {
		if !slices.Contains(there, one) {
			return fmt.Errorf("it has no %s any more: move it and its -wal file away, which forgets what "+
				"came back, or bring a copy back", one)
		}
	}
	return nil
}

// columnsOf are the tables, their columns and the indexes of a database.
func columnsOf(c *sqlite.Conn) (list []string, err error) {
	err = c.Query(func(row []driver.Value) error {
		what, _ := row[0].(string)
		list = append(list, what)
		return nil
	}, "SELECT type||' '||name FROM sqlite_schema UNION ALL SELECT 'column '||t.name||'.'||c.name"+
		" FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type='table'")
	return list, err
}

// The result codes of SQLite that are told apart (https://www.sqlite.org/rescode.html).
const (
	codeError    = 1 // of our fixed statements: a table they name is not there
	codeReadOnly = 8
	codeIOErr    = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// isFull reports whether err says that no room is left.
func isFull(err error) bool {
	return sqlite.Code(err) == codeFull || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isBroken reports whether err concerns the database as a whole, so that it is opened anew.
func isBroken(err error) bool {
	switch sqlite.Code(err) {
	case codeError, codeReadOnly, codeIOErr, codeCorrupt, codeCantOpen, codeNotADB:
		return true
	}
	return false
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

// partOf is the part of the keys that a message's are in.
func partOf(seq int64) int64 { return seq >> 14 }

// dayOf is the day of a time.
func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }
