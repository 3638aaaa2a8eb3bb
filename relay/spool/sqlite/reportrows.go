package sqlite

import (
	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// hasReport reports whether there is, or was, a report of this id.
func (c *conn) hasReport(id string) (bool, error) {
	_, there, err := c.integer("SELECT 1 FROM reported WHERE id=?", id)
	return there, err
}

// remember remembers the id of a report of our own, and reports whether it was known.
func (t *tx) remember(id string, at int64) (known bool, err error) {
	n, err := t.exec("INSERT INTO reported (id, at) VALUES (?,?) ON CONFLICT (id) DO NOTHING", id, at)
	return n == 0, err
}

// forgetReports forgets the ids that were remembered with a time before this one.
func (t *tx) forgetReports(before int64) error {
	_, err := t.exec("DELETE FROM reported WHERE at<?", before)
	return err
}

// takeReported consumes notices that were reported, and remembers the reports.
func (t *tx) takeReported(reported []relay.Notice, reports []*spool.Record) error {
	for _, r := range reports {
		if _, err := t.remember(r.ID, r.Arrived); err != nil {
			return err
		}
	}
	return t.consume(reported)
}
