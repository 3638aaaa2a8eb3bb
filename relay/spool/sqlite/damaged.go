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
	_, err := c.exec("INSERT OR REPLACE INTO quarantine (id, at, why, sender, file, head, recipients, content)"+
		" VALUES (?,?,?,?,?,?,?,?)",
		r.ID, at, b.why, r.Sender, null(r.File, ""), r.Head, r.Recipients, content)
	return err
}
