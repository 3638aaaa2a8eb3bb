package sqlite

import (
	"database/sql/driver"
	"errors"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// tx is a transaction under way.
type tx struct {
	*conn
	n      counts
	remove []string // content files that nothing refers to once it is committed
	gone   []string // ids of messages whose last notice was told
}

// storeCounts stores the counts.
func (t *tx) storeCounts() error {
	_, err := t.exec("UPDATE meta SET commits=?, seq=?, messages=?, bytes=?, notices=?, journal=?",
		t.n.commits, t.n.seq, t.n.messages, t.n.bytes, t.n.notices, t.n.journal)
	return err
}

// insert stores a record and, unless it is in a file, its content. It reports false when the id is there
// already.
func (t *tx) insert(r *spool.Record, content []byte) (bool, error) {
	r.Seq = t.n.seq + 1
	stored, err := t.insertAs(r, content)
	if err != nil || !stored {
		return false, err
	}
	t.n.seq = r.Seq
	t.n.messages++
	t.n.bytes += r.Size
	return true, nil
}

// insertAs is insert for a record that has its number and is counted.
func (t *tx) insertAs(r *spool.Record, content []byte) (bool, error) {
	t.newest = max(t.newest, r.ID)
	changed, err := t.exec(
		"INSERT INTO message ("+columns+
			") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
		r.Seq, r.ID, r.Lane, r.Sender, r.Arrived, r.Size, int64(r.Sum), null(r.File, ""), null(r.Slot, 0),
		null(r.Due, spool.Never),
		r.Open, r.Crashes, r.Head, int64(r.HeadSum), r.Recipients, int64(r.StateSum))
	if err != nil || changed == 0 {
		return false, err
	}
	if r.File == "" {
		if content == nil {
			content = []byte{}
		}
		if _, err := t.exec("INSERT OR REPLACE INTO content (seq, data) VALUES (?,?)", r.Seq,
			content); err != nil {
			return false, err
		}
	}
	return true, nil
}

// update stores the recipients' state, the turn and the due time of a record. It returns 0 when the record
// has gone.
func (t *tx) update(r *spool.Record) (changed int64, err error) {
	return t.exec("UPDATE message SET turn=?, due=?, open=?, crashes=?, recipients=?, state_sum=?"+
		" WHERE seq=?",
		null(r.Slot, 0), null(r.Due, spool.Never), r.Open, r.Crashes, r.Recipients, int64(r.StateSum), r.Seq)
}

// delete removes a message and its content, but not its notices.
func (t *tx) delete(seq, size int64, file string) error {
	changed, err := t.exec("DELETE FROM message WHERE seq=?", seq)
	if err != nil || changed == 0 {
		return err
	}
	return t.deleted(seq, size, file)
}

// deleted removes the content of a message that was deleted.
func (t *tx) deleted(seq, size int64, file string) (err error) {
	if file == "" {
		_, err = t.exec("DELETE FROM content WHERE seq=?", seq)
	} else {
		t.remove = append(t.remove, file)
	}
	t.n.messages--
	t.n.bytes -= size
	return err
}

// deleteCounted is delete for a message that is counted no more and has no file.
func (t *tx) deleteCounted(seq int64) error {
	_, err := t.exec("DELETE FROM message WHERE seq=?", seq)
	if err == nil {
		_, err = t.exec("DELETE FROM content WHERE seq=?", seq)
	}
	return err
}

// hasID reports whether there is a message of this id. It is for the connection that all messages are
// stored through: ids begin with the time, so most new ones are greater than all that are stored, and
// nothing has to be looked up.
func (c *conn) hasID(id string) (there bool, err error) {
	if !c.newestKnown {
		var stored string
		if err := c.query(rowInto(&stored), "SELECT max(id) FROM message"); err != nil {
			return false, err
		}
		c.newest, c.newestKnown = max(c.newest, stored), true
	}
	if id > c.newest {
		return false, nil
	}
	_, there, err = c.integer("SELECT 1 FROM message WHERE id=?", id)
	return there, err
}

// has reports whether the message of a record is there, and no other one of its id.
func (c *conn) has(r *spool.Record) (bool, error) {
	_, there, err := c.integer("SELECT 1 FROM message WHERE id=? AND seq=?", r.ID, r.Seq)
	return there, err
}

// one reads the record that where selects. It returns relay.ErrNotFound when there is none.
func (c *conn) one(where string, arg driver.Value) (*spool.Record, error) {
	return c.oneOf("SELECT "+columns+" FROM message WHERE "+where, arg)
}

// oneWithContent reads the record seq, with its content if that is at most limit bytes long and not in a
// file.
func (c *conn) oneWithContent(seq, limit int64) (*spool.Record, error) {
	return c.oneOf("SELECT "+columnsAndContent+" FROM message WHERE seq=?2", limit, seq)
}

func (c *conn) oneOf(query string, args ...driver.Value) (r *spool.Record, err error) {
	err = c.query(func(row []driver.Value) error {
		if r, err = scanRecord(row); err != nil {
			return err
		}
		return errStop
	}, query, args...)
	if err == nil && r == nil {
		err = relay.ErrNotFound
	}
	return r, err
}

// end removes a message that no recipient waits for, unless a notice does. One that has gone is left so:
// this very settlement was written before, in a commit that seemed to fail.
func (t *tx) end(r *spool.Record) (removed bool, err error) {
	waits, err := t.hasNotices(r.Seq)
	if err != nil || waits {
		return false, err
	}
	return true, t.delete(r.Seq, r.Size, r.File)
}

// deleteByID removes a message that no notice waits for.
func (t *tx) deleteByID(id string) error {
	r, err := t.one("id=?", id)
	if errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = t.end(r)
	return err
}
