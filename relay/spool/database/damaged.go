package database

import (
	"database/sql/driver"

	"mailwhy/relay/spool"
)

// Damaged is a message whose row cannot be read as it was written.
type Damaged struct {
	Record *spool.Record
	Why    string
}

// SaveDamaged writes a row of the table quarantine, with as much of the content as could be read.
func (c *Conn) SaveDamaged(b Damaged, content driver.Value, at int64) error {
	r := b.Record
	_, err := c.Exec("INSERT OR REPLACE INTO quarantine (id, at, why, sender, file, head, recipients,"+
		" content) VALUES (?,?,?,?,?,?,?,?)",
		r.ID, at, b.Why, r.Sender, null(r.File, ""), r.Head, r.Recipients, content)
	return err
}
