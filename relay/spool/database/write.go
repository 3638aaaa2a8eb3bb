package database

import (
	"database/sql/driver"
	"errors"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Insert stores a record and, unless it is in a file or another message of the mail has it already, its
// content. It reports false when the id is there already.
func (t *Tx) Insert(r *spool.Record, content []byte) (bool, error) {
	r.Seq = t.Counts.Seq + 1
	stored, err := t.InsertCounted(r, content)
	if err != nil || !stored {
		return false, err
	}
	shared, err := t.sharesContent(r)
	if err != nil {
		return false, err
	}
	t.Counts.Seq = r.Seq
	t.Counts.Messages++
	if !shared {
		t.Counts.Bytes += r.Size
	}
	return true, nil
}

// InsertCounted is Insert for a record that has its number and is counted.
func (t *Tx) InsertCounted(r *spool.Record, content []byte) (bool, error) {
	stored, err := t.insertRow(r)
	if err != nil || !stored || r.File != "" || r.Content != 0 && content == nil {
		return stored, err
	}
	if content == nil {
		content = []byte{}
	}
	_, err = t.Exec("INSERT OR REPLACE INTO content (seq, data) VALUES (?,?)", contentOf(r), content)
	return err == nil, err
}

// InsertTombstone stores a record that has its number and no content (spool.Record.Tombstone). It reports
// false when the id is there already.
func (t *Tx) InsertTombstone(r *spool.Record) (bool, error) {
	stored, err := t.insertRow(r)
	if stored {
		t.Counts.Messages++
		t.Counts.Bytes += r.Size
	}
	return stored, err
}

// insertRow stores a record without its content.
func (t *Tx) insertRow(r *spool.Record) (bool, error) {
	t.newest = max(t.newest, r.ID)
	changed, err := t.Exec(
		"INSERT INTO message ("+Columns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"+
			" ON CONFLICT (id) DO NOTHING",
		r.Seq, r.ID, r.Lane, r.Sender, r.Arrived, r.Size, int64(r.Sum), null(r.File, ""),
		null(r.Slot, 0), null(r.Due, spool.Never), r.Open, r.Crashes,
		r.Head, int64(r.HeadSum), r.Recipients, int64(r.StateSum), null(r.Mail, ""), null(r.Content, 0))
	return err == nil && changed > 0, err
}

// Update stores the lane, the recipients' state, the slot and the due time of a record. It returns 0 when the
// record has gone.
func (t *Tx) Update(r *spool.Record) (changed int64, err error) {
	return t.Exec("UPDATE message SET lane=?, turn=?, due=?, open=?, crashes=?, recipients=?, state_sum=?"+
		" WHERE seq=?",
		r.Lane, null(r.Slot, 0), null(r.Due, spool.Never), r.Open, r.Crashes, r.Recipients,
		int64(r.StateSum), r.Seq)
}

// Delete removes a message and, if it is the last of its mail, the content, but not its entries of the
// outbox.
func (t *Tx) Delete(r *spool.Record) error {
	changed, err := t.Exec("DELETE FROM message WHERE seq=?", r.Seq)
	if err != nil || changed == 0 {
		return err
	}
	return t.deleted(r)
}

// deleted removes the content of a message that was deleted, unless another one shares it.
func (t *Tx) deleted(r *spool.Record) error {
	t.Counts.Messages--
	shared, err := t.sharesContent(r)
	if err != nil || shared {
		return err
	}
	t.Counts.Bytes -= r.Size
	if r.File == "" {
		_, err = t.Exec("DELETE FROM content WHERE seq=?", contentOf(r))
	} else {
		t.Unused = append(t.Unused, r.File)
	}
	return err
}

// sharesContent reports whether another message, or one in quarantine, has the content of a record.
func (t *Tx) sharesContent(r *spool.Record) (shared bool, err error) {
	if r.Mail == "" {
		return false, nil
	}
	_, shared,
		err = t.Integer("SELECT 1 FROM message WHERE mail=?1 AND seq<>?2 AND coalesce(content, seq)=?3"+
		" UNION ALL SELECT 1 FROM quarantine WHERE file=?4", r.Mail, r.Seq, contentOf(r), r.File)
	return shared, err
}

// DeleteCounted is Delete for a message that is counted no more, has no file, and is the only one of its
// mail.
func (t *Tx) DeleteCounted(seq int64) error {
	_, err := t.Exec("DELETE FROM message WHERE seq=?", seq)
	if err == nil {
		_, err = t.Exec("DELETE FROM content WHERE seq=?", seq)
	}
	return err
}

// End removes a message that no recipient waits for, unless an entry of the outbox does. One that has gone is
// left so: this very settlement was written before, in a commit that seemed to fail.
func (t *Tx) End(r *spool.Record) (removed bool, err error) {
	waits, err := t.IsOwed(r.Seq)
	if err != nil || waits {
		return false, err
	}
	return true, t.Delete(r)
}

// DeleteByID removes a message that no entry of the outbox waits for.
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

// DeleteDamaged removes a message whose row is damaged, with its entries of the outbox. Its content file
// stays.
func (t *Tx) DeleteDamaged(r *spool.Record) error {
	if err := t.DropEntries(r.Seq); err != nil {
		return err
	}
	changed, err := t.Exec("DELETE FROM message WHERE seq=?", r.Seq)
	if err != nil || changed == 0 {
		return err
	}
	t.Counts.Messages--
	return t.dropOwnContent(r)
}

// Rewrite replaces a damaged row by r. It loses its content.
func (t *Tx) Rewrite(damaged, r *spool.Record) error {
	_, err := t.Exec("UPDATE message SET size=?, sum=0, file=NULL, content=NULL, head=?, head_sum=?"+
		" WHERE seq=?", r.Size, r.Head, int64(r.HeadSum), r.Seq)
	if err == nil {
		err = t.dropOwnContent(damaged)
	}
	if err == nil {
		t.Counts.Bytes += r.Size
		_, err = t.Update(r)
	}
	return err
}

// dropOwnContent removes the content of a damaged message, unless others share it. What the row says of its
// mail and its content may be wrong, so only what is stored under its own number goes.
func (t *Tx) dropOwnContent(r *spool.Record) error {
	_, shared, err := t.Integer("SELECT 1 FROM message WHERE mail IS NOT NULL AND content=?", r.Seq)
	if err != nil || shared || r.Content != 0 {
		return err
	}
	t.Counts.Bytes -= r.Size
	_, err = t.Exec("DELETE FROM content WHERE seq=?", r.Seq)
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
