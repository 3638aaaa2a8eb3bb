package sqlite

import (
	"database/sql/driver"

	"mailwhy/relay/spool"
)

// damagedRecord is a message whose row cannot be read as it was written.
type damagedRecord struct {
	r   *spool.Record
	why string
}

// keepDamaged writes a row of the table quarantine.
func (c *conn) keepDamaged(b damagedRecord, content driver.Value, at int64) error {
	r := b.r
	_,
		err := c.exec("INSERT OR REPLACE INTO quarantine (id, at, why, sender, file, head, recipients, "+
		"content)"+
		" VALUES (?,?,?,?,?,?,?,?)",
		r.ID, at, b.why, r.Sender, null(r.File, ""), r.Head, r.Recipients, content)
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

// contentOf reads a content from the database; nil when there is none.
func (c *conn) contentOf(seq int64) (data driver.Value, err error) {
	err = c.query(func(row []driver.Value) error {
		data = row[0]
		return errStop
	}, "SELECT data FROM content WHERE seq=?", seq)
	return data, err
}
