package database

import (
	"database/sql/driver"
	"errors"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Insert stores a record and, unless it is in a file, its content. It reports false when the id is there
// already.
func (t *Tx) Insert(r *spool.Record, content []byte) (bool, error) {
	r.Seq = t.Counts.Seq + 1
	stored, err := t.InsertCounted(r, content)
	if err != nil || !stored {
		return false, err
	}
	t.Counts.Seq = r.Seq
	t.Counts.Messages++
	t.Counts.Bytes += r.Size
	return true, nil
}

// InsertCounted is Insert for a record that has its number and is counted.
func (t *Tx) InsertCounted(r *spool.Record, content []byte) (bool, error) {
	t.newest = max(t.newest, r.ID)
	changed, err := t.Exec(
		"INSERT INTO message ("+Columns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"+
			" ON CONFLICT (id) DO NOTHING",
		r.Seq, r.ID, r.Lane, r.Sender, r.Arrived, r.Size, int64(r.Sum), null(r.File, ""),
		null(r.Slot, 0), null(r.Due, spool.Never), r.Open, r.Crashes,
		r.Head, int64(r.HeadSum), r.Recipients, int64(r.StateSum))
	if err != nil || changed == 0 {
		return false, err
	}
	if r.File == "" {
		if content == nil {
			content = []byte{}
		}
		_, err := t.Exec("INSERT OR REPLACE INTO content (seq, data) VALUES (?,?)", r.Seq, content)
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Update stores the recipients' state, the slot and the due time of a record. It returns 0 when the record
// has gone.
func (t *Tx) Update(r *spool.Record) (changed int64, err error) {
	return t.Exec("UPDATE message SET turn=?, due=?, open=?, crashes=?, recipients=?, state_sum=?"+
		" WHERE seq=?",
		null(r.Slot, 0), null(r.Due, spool.Never), r.Open, r.Crashes, r.Recipients, int64(r.StateSum), r.Seq)
}

// Delete removes a message and its content, but not its notices.
func (t *Tx) Delete(seq, size int64, file string) error {
	changed, err := t.Exec("DELETE FROM message WHERE seq=?", seq)
	if err != nil || changed == 0 {
		return err
	}
	return t.deleted(seq, size, file)
}

// deleted removes the content of a message that was deleted.
func (t *Tx) deleted(seq, size int64, file string) (err error) {
	if file == "" {
		_, err = t.Exec("DELETE FROM content WHERE seq=?", seq)
	} else {
		t.Unused = append(t.Unused, file)
	}
	t.Counts.Messages--
	t.Counts.Bytes -= size
	return err
}

// DeleteCounted is Delete for a message that is counted no more and has no file.
func (t *Tx) DeleteCounted(seq int64) error {
	_, err := t.Exec("DELETE FROM message WHERE seq=?", seq)
	if err == nil {
		_, err = t.Exec("DELETE FROM content WHERE seq=?", seq)
	}
	return err
}

// End removes a message that no recipient waits for, unless a notice does. One that has gone is left so: this
// very settlement was written before, in a commit that seemed to fail.
func (t *Tx) End(r *spool.Record) (removed bool, err error) {
	waits, err := t.HasNotices(r.Seq)
	if err != nil || waits {
		return false, err
	}
	return true, t.Delete(r.Seq, r.Size, r.File)
}

// DeleteByID removes a message that no notice waits for.
func (t *Tx) DeleteByID(id string) error {
	r, err := t.Record(id)
	if errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = t.End(r)
	return err
}

// Rewrite replaces a record, and removes its content.
func (t *Tx) Rewrite(r *spool.Record) error {
	_, err := t.Exec("UPDATE message SET size=?, sum=0, file=NULL, head=?, head_sum=? WHERE seq=?",
		r.Size, r.Head, int64(r.HeadSum), r.Seq)
	if err == nil {
		_, err = t.Exec("DELETE FROM content WHERE seq=?", r.Seq)
	}
	if err == nil {
		_, err = t.Update(r)
	}
	return err
}

// SetSlot stores the slot of a message; 0 takes it away.
func (t *Tx) SetSlot(seq, slot int64) error {
	_, err := t.Exec("UPDATE message SET turn=? WHERE seq=?", null(slot, 0), seq)
	return err
}

// PutOff counts one more crash of a message that is to be tried, and puts it off to what due says for so many
// of them.
func (t *Tx) PutOff(id string, due func(crashes int64) int64) error {
	crashes, ok, err := t.Integer("SELECT crashes FROM message WHERE id=? AND due IS NOT NULL", id)
	if err == nil && ok {
		_, err = t.Exec("UPDATE message SET crashes=?, turn=NULL, due=max(due, ?) WHERE id=?",
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
