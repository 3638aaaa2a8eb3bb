package database

import (
	"database/sql/driver"
	"fmt"

	"mailwhy/relay/spool/files"
)

// ApplicationID says that the file is a spool of ours: "mwhy" (PRAGMA application_id).
const ApplicationID = 0x6d776879

// PageSize of the database in bytes.
const PageSize = 4096

// VacuumStep is how many free pages are given back to the disk in one transaction.
const VacuumStep = 256

// BatchBytes is how much one transaction gathers, which bounds what a batch holds in memory and how long its
// commit lasts.
const BatchBytes = 4 << 20

// The layout is the tables of format 2 and the steps from there. New databases are made in the same way as
// those of earlier formats are migrated, so that all have their tables at the same pages: the repair of a
// first page relies on that.
//
// Times are nanoseconds since 1970; to read one in the sqlite3 shell: datetime(due/1000000000, 'unixepoch').
// turn is the slot of a message, its place in the order of its lane. head and recipients are JSON: the
// message without its recipients, and these. head never changes, and the content is in a table of its own,
// so that a settlement rewrites neither of them. Sums are CRC-32C.
const schema2 = `
CREATE TABLE message (
	seq        INTEGER PRIMARY KEY,
	id         TEXT    NOT NULL UNIQUE,
	lane       TEXT    NOT NULL,
	sender     TEXT    NOT NULL,  -- of the envelope, lower case
	arrived    INTEGER NOT NULL,
	size       INTEGER NOT NULL,  -- of the content
	sum        INTEGER NOT NULL,  -- of the content
	file       TEXT,              -- in the directory content; NULL: the content is in the table content
	turn       INTEGER,           -- place in the lane's line; NULL: not in the line
	due        INTEGER,           -- when to be tried; NULL: nothing to be tried
	open       INTEGER NOT NULL,  -- recipients that are not final
	crashes    INTEGER NOT NULL DEFAULT 0,  -- how often it was leased when the process ended
	head       TEXT    NOT NULL,
	head_sum   INTEGER NOT NULL,
	recipients TEXT    NOT NULL,
	state_sum  INTEGER NOT NULL
) STRICT;
CREATE INDEX message_line ON message (lane, turn);
CREATE INDEX message_wait ON message (lane, due) WHERE turn IS NULL AND due IS NOT NULL;
CREATE TABLE content (
	seq  INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;
CREATE TABLE notice (
	seq       INTEGER NOT NULL,   -- of the message
	recipient INTEGER NOT NULL,   -- index
	kind      TEXT    NOT NULL,
	due       INTEGER NOT NULL,
	digest    INTEGER NOT NULL,
	PRIMARY KEY (seq, recipient, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_due ON notice (due);
CREATE TABLE reported (           -- ids of our own reports and recovered messages, kept when they have gone
	id TEXT PRIMARY KEY,
	at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reported_at ON reported (at);
CREATE TABLE quarantine (         -- messages that could not be read any more, as far as they could be
	id         TEXT PRIMARY KEY,
	at         INTEGER NOT NULL,
	why        TEXT NOT NULL,
	sender     TEXT,
	file       TEXT,
	head       TEXT,
	recipients TEXT,
	content    BLOB
) STRICT;
CREATE TABLE meta (               -- one row
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	commits  INTEGER NOT NULL,    -- grows by one with each transaction
	seq      INTEGER NOT NULL,    -- highest one given
	messages INTEGER NOT NULL,
	bytes    INTEGER NOT NULL,
	notices  INTEGER NOT NULL,
	journal  INTEGER NOT NULL DEFAULT 0  -- salt of the journal that ` +
	`the last transaction took in; 0: not known
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0, 0);
`

// from2 are the steps from format 2 to 3. The messages of one mail, one for each lane, have its id in mail,
// and share a row of content or a file; content is the number of the row, where it is not the message's own.
// The outbox has what is owed to others, and is in the place of the notices.
const from2 = `
ALTER TABLE message ADD COLUMN mail TEXT;
ALTER TABLE message ADD COLUMN content INTEGER;
CREATE INDEX message_mail ON message (mail) WHERE mail IS NOT NULL;
CREATE TABLE outbox (
	seq     INTEGER NOT NULL,  -- of the message
	topic   TEXT    NOT NULL,  -- who is to answer it
	key     TEXT    NOT NULL,
	due     INTEGER NOT NULL,
	payload BLOB,
	PRIMARY KEY (seq, topic, key)
) STRICT, WITHOUT ROWID;
INSERT INTO outbox SELECT seq, 'report', kind || '/' || recipient, due,
	CASE WHEN digest THEN CAST('digest' AS BLOB) END FROM notice;
DROP TABLE notice;
CREATE INDEX outbox_due ON outbox (topic, due);
ALTER TABLE meta RENAME COLUMN notices TO owed;
`

// Counts is the row of meta: what the database holds, and how often it was written.
type Counts struct {
	Commits, Seq, Messages, Bytes, Owed int64
	Journal                             int64 // 0 in format 1, and after meta was lost
}

// OpenWriter opens the database for the writer, and makes it if it is not there.
func OpenWriter(name string) (*Conn, error) {
	return openWriter(name, ensureSchema)
}

// CreateEarlier makes a new database of format 2, as one looks that was not migrated yet.
func CreateEarlier(name string) (*Conn, error) {
	return openWriter(name, func(c *Conn) error { return c.create(2, schema2) })
}

// openWriter opens a database for the writer.
func openWriter(name string, ensureSchema func(*Conn) error) (*Conn, error) {
	if err := files.CreatePrivate(name); err != nil {
		return nil, err
	}
	c, err := Open(name, "mode=rwc",
		fmt.Sprintf("page_size=%d", PageSize), "auto_vacuum=INCREMENTAL", "journal_mode=WAL",
		"synchronous=FULL", "wal_autocheckpoint=0", "cache_size=-4096", "busy_timeout=5000",
		"temp_store=MEMORY", "trusted_schema=OFF")
	if err != nil {
		return nil, err
	}
	if err := ensureSchema(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ensureSchema makes the tables in a new database, and refuses one that is not ours or of a later format. One
// of an earlier format is left as it is: Tx.Migrate.
func ensureSchema(c *Conn) error {
	app, _, err := c.Integer("PRAGMA application_id")
	if err != nil {
		return err
	}
	version, _, err := c.Integer("PRAGMA user_version")
	if err != nil {
		return err
	}
	tables, _, err := c.Integer("SELECT count(*) FROM sqlite_schema")
	switch {
	case err != nil:
		return err
	case app == ApplicationID && version > files.Format:
		return files.NewerFormat(version)
	case app == ApplicationID && version > 0:
		return nil
	case app != 0 || version != 0 || tables != 0:
		return fmt.Errorf("not a spool: application id %#x, layout %d, %d tables and indexes", app, version,
			tables)
	}
	return c.create(files.Format, schema2+from2)
}

// create makes the tables of a format.
func (c *Conn) create(format int64, schema string) error {
	c.format = format
	return c.Run(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
		schema, ApplicationID, format))
}

// How readers open the database: beside a writer, or when nobody writes and there is no log, so that not even
// the log's files need be made.
const (
	ReadBeside = "mode=ro"
	ReadAlone  = "mode=ro&immutable=1"
)

// OpenReader opens the database for reading.
func OpenReader(name, how string) (*Conn, error) {
	return Open(name, how, "query_only=ON", "cache_size=-1024", "busy_timeout=5000", "trusted_schema=OFF")
}

// ReadCounts reads the row of meta.
func ReadCounts(c *Conn) (n Counts, err error) {
	query := "SELECT commits, seq, messages, bytes, owed, journal FROM meta"
	switch c.format {
	case 1:
		query = "SELECT commits, seq, messages, bytes, notices, 0 FROM meta"
	case 2:
		query = "SELECT commits, seq, messages, bytes, notices, journal FROM meta"
	}
	found := false
	err = c.Query(func(row []driver.Value) error {
		found = true
		for i, p := range []*int64{&n.Commits, &n.Seq, &n.Messages, &n.Bytes, &n.Owed, &n.Journal} {
			*p, _ = row[i].(int64)
		}
		return ErrStop
	}, query)
	if err == nil && !found {
		err = DamagedError{"the table meta is empty"}
	}
	return n, err
}
