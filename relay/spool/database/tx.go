package database

import (
	"fmt"

	"mailwhy/relay/spool/files"
)

// Tx is a transaction, under way from Begin to Commit or Rollback.
type Tx struct {
	*Conn
	Counts Counts   // as they are with what the transaction did
	Unused []string // content files that nothing refers to once it is committed
	Gone   []string // ids of messages that went with their last entry of the outbox
}

// NewTx makes a transaction on a database that holds n.
func NewTx(c *Conn, n Counts) *Tx { return &Tx{Conn: c, Counts: n} }

// Begin begins the transaction.
func (t *Tx) Begin() error {
	_, err := t.Exec("BEGIN IMMEDIATE")
	return err
}

// Commit commits the transaction. After an error it may be on the disk all the same.
func (t *Tx) Commit() error {
	_, err := t.Exec("COMMIT")
	return err
}

// Rollback ends a transaction that failed. SQLite may have done so itself, so that only an error that
// concerns the whole database is one.
func (t *Tx) Rollback() error {
	if _, err := t.Exec("ROLLBACK"); IsBroken(err) {
		return err
	}
	return nil
}

// Guard makes a change under a savepoint, so that one that SQLite refuses is undone alone. result is the
// change's own error, err one that concerns the transaction.
func (t *Tx) Guard(change func(*Tx) error) (result, err error) {
	if _, err := t.Exec("SAVEPOINT op"); err != nil {
		return nil, err
	}
	n, unused, gone := t.Counts, len(t.Unused), len(t.Gone)
	result = change(t)
	if IsBroken(result) {
		return nil, result
	}
	if Code(result) != 0 {
		t.Counts, t.Unused, t.Gone = n, t.Unused[:unused], t.Gone[:gone]
		if _, err := t.Exec("ROLLBACK TO op"); err != nil {
			return nil, err
		}
	}
	_, err = t.Exec("RELEASE op")
	return result, err
}

// StoreCounts stores the counts.
func (t *Tx) StoreCounts() error {
	_, err := t.Exec("UPDATE meta SET commits=?, seq=?, messages=?, bytes=?, owed=?, journal=?",
		t.Counts.Commits, t.Counts.Seq, t.Counts.Messages, t.Counts.Bytes, t.Counts.Owed, t.Counts.Journal)
	return err
}

// from1 is the step from format 1 to 2.
const from1 = "ALTER TABLE meta ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;"

// Migrate makes a database of an earlier format one of this format, within the transaction.
func (t *Tx) Migrate() error {
	steps := from2
	if t.format == 1 {
		steps = from1 + from2
	}
	err := t.Run(fmt.Sprintf("%s PRAGMA user_version=%d", steps, files.Format))
	if err == nil {
		t.format = files.Format
	}
	return err
}
