package suppress

import (
	"encoding/json"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/sqlite"
)

// sharedSchema is what a list that is shared has beside its entries: on which version of the shared list each
// address rests, and what the shared list has not got yet.
const sharedSchema = `
CREATE TABLE shared (
	key     TEXT    PRIMARY KEY,  -- scope and address
	version INTEGER NOT NULL,     -- of the shared list; 0: it has nothing of the address that is known here
	owed    INTEGER NOT NULL,     -- number of the change that the shared list has not got; 0: it has all
	gone    TEXT    NOT NULL,     -- the removal, where the entry was removed
	until   INTEGER NOT NULL      -- when the row may be forgotten; 0: never
) STRICT, WITHOUT ROWID;
CREATE INDEX shared_owed ON shared (owed) WHERE owed>0;
CREATE INDEX shared_until ON shared (until) WHERE until>0;
CREATE TABLE place (list TEXT NOT NULL, version INTEGER NOT NULL, heard INTEGER NOT NULL) STRICT;
INSERT INTO place VALUES ('', 0, 0);
`

// What is removed is remembered for some time, so that a replica that was away hears of it. One that was away
// for longer than awayMost forgets what it had from the others.
const (
	awayMost   = 150 * 24 * time.Hour
	keepShared = 30 * 24 * time.Hour // a replica remembers for longer than the shared list
)

// isShared reports whether the list in a file was ever shared.
func isShared(c *sqlite.Conn) (bool, error) {
	n, _, err := c.Integer("SELECT count(*) FROM sqlite_schema WHERE name='place'")
	return n > 0, err
}

// removal is what other replicas hear of an entry that was removed.
func removal(s *entry, source string, now time.Time) *entry {
	return &entry{Address: s.Address, Scope: s.Scope, State: relay.SuppressionRemoved, Source: source,
		FirstSeen: now, LastSeen: now}
}

// until is when an entry or a removal tells nobody anything any more; the zero time is never.
func until(s *entry) time.Time {
	switch {
	case s.State == relay.SuppressionRemoved:
		return s.LastSeen.Add(keepExpired)
	case s.Expires.IsZero() || s.State != relay.SuppressionActive:
		return s.Expires
	}
	return s.Expires.Add(keepExpired)
}

// sharedKey is by what replicas name an entry.
func (l *List) sharedKey(s *entry) string { return s.Scope + " " + l.key(s.Address) }

// owe notes a change, or a removal, that the other replicas have not got.
func (t *tx) owe(s *entry) error {
	if !t.w.shared {
		return nil
	}
	t.owed = true
	_, err := t.Exec(`INSERT INTO shared (key, version, owed, gone, until)
		VALUES (?, 0, (SELECT coalesce(max(owed), 0)+1 FROM shared WHERE owed>0), ?, ?)
		ON CONFLICT DO UPDATE SET owed=excluded.owed, gone=excluded.gone, until=excluded.until`,
		t.l.sharedKey(s), goneText(s), keptUntil(s))
	return err
}

// keptUntil is when the row of an entry or a removal may be forgotten.
func keptUntil(s *entry) int64 {
	if u := until(s); !u.IsZero() {
		return nanos(u.Add(keepShared))
	}
	return 0
}

// forget removes what it is not necessary to know of the shared list any more.
func (t *tx) forget(now time.Time) error {
	if !t.w.shared {
		return nil
	}
	_, err := t.Exec("DELETE FROM shared WHERE key IN "+
		"(SELECT key FROM shared WHERE until>0 AND until<? AND owed=0 LIMIT ?)", nanos(now), int64(tidyMost))
	return err
}

// goneText is a removal as it is stored; "" for an entry.
func goneText(s *entry) string {
	if s.State != relay.SuppressionRemoved {
		return ""
	}
	text, _ := json.Marshal(s) // it has nothing that cannot be written
	return string(text)
}
