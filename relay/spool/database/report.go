package database

import (
	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// HasReport reports whether there is, or was, a report of this id.
func (c *Conn) HasReport(id string) (bool, error) {
	_, there, err := c.Integer("SELECT 1 FROM reported WHERE id=?", id)
	return there, err
}

// Remember remembers the id of a report of our own, and reports whether it was known.
func (t *Tx) Remember(id string, at int64) (known bool, err error) {
	n, err := t.Exec("INSERT INTO reported (id, at) VALUES (?,?) ON CONFLICT (id) DO NOTHING", id, at)
	return n == 0, err
}

// ForgetReports forgets the ids that were remembered with a time before this one.
func (t *Tx) ForgetReports(before int64) error {
	_, err := t.Exec("DELETE FROM reported WHERE at<?", before)
	return err
}

// TakeAnswered consumes entries that were answered, and remembers the reports that did.
func (t *Tx) TakeAnswered(answered []relay.Entry, reports []*spool.Record) error {
	for _, r := range reports {
		if _, err := t.Remember(r.ID, r.Arrived); err != nil {
			return err
		}
	}
	return t.Consume(answered)
}
