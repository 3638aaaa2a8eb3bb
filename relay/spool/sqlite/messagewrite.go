package sqlite

import (
	"database/sql/driver"
	"errors"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// insert stores a record and, unless it is in a file, its content. It reports false when the id is there already.
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
		"INSERT INTO message ("+columns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
		r.Seq, r.ID, r.Lane, r.Sender, r.Arrived, r.Size, int64(r.Sum), null(r.File, ""), null(r.Slot, 0), null(r.Due, spool.Never),
		r.Open, r.Crashes, r.Head, int64(r.HeadSum), r.Recipients, int64(r.StateSum))
	if err != nil || changed == 0 {
		return false, err
	}
	if r.File == "" {
		if content == nil {
			content = []byte{}
		}
		if _, err := t.exec("INSERT OR REPLACE INTO content (seq, data) VALUES (?,?)", r.Seq, content); err != nil {
			return false, err
		}
	}
	return true, nil
}

// update stores the recipients' state, the turn and the due time of a record. It returns 0 when the record has gone.
func (t *tx) update(r *spool.Record) (changed int64, err error) {
	return t.exec("UPDATE message SET turn=?, due=?, open=?, crashes=?, recipients=?, state_sum=? WHERE seq=?",
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
		t.unused = append(t.unused, file)
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

// end removes a message that no recipient waits for, unless a notice does. One that has gone is left so: this very
// settlement was written before, in a commit that seemed to fail.
func (t *tx) end(r *spool.Record) (removed bool, err error) {
	waits, err := t.hasNotices(r.Seq)
	if err != nil || waits {
		return false, err
	}
	return true, t.delete(r.Seq, r.Size, r.File)
}

// deleteByID removes a message that no notice waits for.
func (t *tx) deleteByID(id string) error {
	r, err := t.record(id)
	if errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = t.end(r)
	return err
}

// rewrite replaces a record, and removes its content.
func (t *tx) rewrite(r *spool.Record) error {
	_, err := t.exec("UPDATE message SET size=?, sum=0, file=NULL, head=?, head_sum=? WHERE seq=?",
		r.Size, r.Head, int64(r.HeadSum), r.Seq)
	if err == nil {
		_, err = t.exec("DELETE FROM content WHERE seq=?", r.Seq)
	}
	if err == nil {
		_, err = t.update(r)
	}
	return err
}

// setSlot stores the slot of a message; 0 takes it away.
func (t *tx) setSlot(seq, slot int64) error {
	_, err := t.exec("UPDATE message SET turn=? WHERE seq=?", null(slot, 0), seq)
	return err
}

// putOff counts one more crash of a message that is to be tried, and puts it off to what due says for so many of them.
func (t *tx) putOff(id string, due func(crashes int64) int64) error {
	crashes, ok, err := t.integer("SELECT crashes FROM message WHERE id=? AND due IS NOT NULL", id)
	if err == nil && ok {
		_, err = t.exec("UPDATE message SET crashes=?, turn=NULL, due=max(due, ?) WHERE id=?",
			crashes+1, due(crashes+1), id)
	}
	return err
}

// null is n, or NULL for the value that stands for none.
func null[T comparable](n, none T) driver.Value {
	if n == none {
		return nil
	}
	return n
}
