package history

import (
	"fmt"
	"os"

	"mailwhy/relay/internal/sqlite"
)

// applicationID says that the file is one of ours: "mwhi" (PRAGMA application_id).
const applicationID = 0x6d776869

// format is the number of the tables' layout (PRAGMA user_version). A file with another one is begun anew.
const format = 2

// perm is for files that name people's addresses.
const perm = 0o600

// schema is the layout. Times are milliseconds since 1970; a slot is the number of a span of slotLength.
const schema = `
CREATE TABLE event (
	number   INTEGER PRIMARY KEY AUTOINCREMENT,
	at       INTEGER NOT NULL,
	kind     TEXT    NOT NULL,
	id       TEXT    NOT NULL,
	mail     TEXT    NOT NULL,
	rcpt     TEXT    NOT NULL,  -- in lower case
	category TEXT    NOT NULL,
	reason   TEXT    NOT NULL,
	body     BLOB    NOT NULL   -- JSON, see package record
) STRICT;
CREATE INDEX event_at ON event (at);
CREATE INDEX event_id ON event (id) WHERE id <> '';
CREATE INDEX event_mail ON event (mail) WHERE mail <> '';
CREATE INDEX event_rcpt ON event (rcpt) WHERE rcpt <> '';
CREATE INDEX event_reason ON event (reason) WHERE reason <> '';
CREATE TABLE tally (
	slot     INTEGER NOT NULL,
	kind     TEXT    NOT NULL,
	category TEXT    NOT NULL,
	reason   TEXT    NOT NULL,
	count    INTEGER NOT NULL,
	first    INTEGER NOT NULL,
	last     INTEGER NOT NULL,
	PRIMARY KEY (slot, kind, category, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE relayed (
	upstream TEXT    PRIMARY KEY,
	at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE sample (
	category TEXT    NOT NULL,
	reason   TEXT    NOT NULL,
	at       INTEGER NOT NULL,
	body     BLOB    NOT NULL,
	PRIMARY KEY (category, reason)
) STRICT, WITHOUT ROWID;
`

// openFile opens the database, and makes it if there is none.
func openFile(name string) (*sqlite.Conn, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, perm) // SQLite would make it readable to others
	if err != nil {
		return nil, err
	}
	f.Close()
	c, err := sqlite.Open(name, "mode=rw", "busy_timeout=5000", "journal_mode=WAL", "synchronous=NORMAL",
		"cache_size=-512", "journal_size_limit=4194304", "trusted_schema=OFF")
	if err != nil {
		return nil, err
	}
	if err := prepare(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// otherFormat is a file that another version wrote, or another program.
type otherFormat struct{ id, version int64 }

// Error implements error.
func (e otherFormat) Error() string {
	return fmt.Sprintf("it has format %d of application %#x, not %d of %#x", e.version, e.id, format,
		applicationID)
}

// prepare makes the tables in an empty file, and checks the format of any other.
func prepare(c *sqlite.Conn) error {
	version, _, err := c.Integer("PRAGMA user_version")
	if err != nil {
		return err
	}
	id, _, err := c.Integer("PRAGMA application_id")
	if err != nil {
		return err
	}
	tables, _, err := c.Integer("SELECT count(*) FROM sqlite_schema")
	switch {
	case err != nil:
		return err
	case tables == 0:
		return c.Run(fmt.Sprintf("BEGIN IMMEDIATE;%sPRAGMA application_id=%d;PRAGMA user_version=%d;COMMIT",
			schema, applicationID, format))
	case id != applicationID || version != format:
		return otherFormat{id, version}
	}
	return nil
}
