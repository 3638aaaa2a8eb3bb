package sqlite

import (
	"fmt"
	"mailwhy/relay/spool/files"
)

// tx is a transaction, under way from begin to commit or rollback.
type tx struct {
	*conn
	n      counts   // as they are with what the transaction did
	unused []string // content files that nothing refers to once it is committed
	gone   []string // ids of messages whose last notice was reported
}

// newTx makes a transaction on a database that holds n.
func newTx(c *conn, n counts) *tx { return &tx{conn: c, n: n} }

// begin begins the transaction.
func (t *tx) begin() error {
	_, err := t.exec("BEGIN IMMEDIATE")
	return err
}

// commit commits the transaction. After an error it may be on the disk all the same.
func (t *tx) commit() error {
	_, err := t.exec("COMMIT")
	return err
}

// rollback ends a transaction that failed. SQLite may have done so itself, so that only an error that concerns the
// whole database is one.
func (t *tx) rollback() error {
	if _, err := t.exec("ROLLBACK"); broken(err) {
		return err
	}
	return nil
}

// guard makes a change under a savepoint, so that one that SQLite refuses is undone alone. result is the change's own
// error, err one that concerns the transaction.
func (t *tx) guard(change func(*tx) error) (result, err error) {
	if _, err := t.exec("SAVEPOINT op"); err != nil {
		return nil, err
	}
	n, unused, gone := t.n, len(t.unused), len(t.gone)
	result = change(t)
	if broken(result) {
		return nil, result
	}
	if code(result) != 0 {
		t.n, t.unused, t.gone = n, t.unused[:unused], t.gone[:gone]
		if _, err := t.exec("ROLLBACK TO op"); err != nil {
			return nil, err
		}
	}
	_, err = t.exec("RELEASE op")
	return result, err
}

// storeCounts stores the counts.
func (t *tx) storeCounts() error {
	_, err := t.exec("UPDATE meta SET commits=?, seq=?, messages=?, bytes=?, notices=?, journal=?",
		t.n.commits, t.n.seq, t.n.messages, t.n.bytes, t.n.notices, t.n.journal)
	return err
}

// migrate makes a database of format 1 one of this format, within the transaction.
func (t *tx) migrate() error {
	if _, err := t.exec("ALTER TABLE meta ADD COLUMN journal INTEGER NOT NULL DEFAULT 0"); err != nil {
		return err
	}
	return t.run(fmt.Sprintf("PRAGMA user_version=%d", files.Format))
}
