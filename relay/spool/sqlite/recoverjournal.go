package sqlite

import (
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// replay brings what is in the journal into the database. One of an earlier format becomes one of this format
// with the same commit.
func (o *opener) replay(t *database.Tx) error {
	format, err := database.Version(t.Conn)
	if err != nil {
		return err
	}
	if err := o.fit(t); err != nil {
		return err
	}
	c := o.journal.changes(t.Counts.Commits, o.was.Commits)
	o.reportMissing(c.missing)
	if c.none() && format == files.Format {
		return nil
	}
	last := o.journal.last(t.Counts.Commits)
	if err := t.Begin(); err != nil {
		return err
	}
	if format < files.Format {
		if err := t.Migrate(); err != nil {
			return err
		}
	}
	if err := applyChanges(t, &c); err != nil {
		return err
	}
	t.Counts.Commits, t.Counts.Journal = last+1, o.journal.salt
	if err := t.StoreCounts(); err != nil {
		return err
	}
	o.s.o.at("before the commit")
	err = t.Commit()
	o.s.o.at("committed")
	return err
}

// applyChanges makes the changes of a journal.
func applyChanges(t *database.Tx, c *changes) error {
	for _, r := range c.come {
		if _, err := t.Insert(r, r.Data); err != nil {
			return err
		}
	}
	for _, id := range c.gone {
		if err := t.DeleteByID(id); err != nil {
			return err
		}
	}
	return t.TakeReported(c.reported, c.reports)
}

// reportMissing tells of entries of the journal that cannot be read.
func (o *opener) reportMissing(missing int) {
	if missing == 0 {
		return
	}
	o.lostTail = true
	aside, err := o.dir.SetAside(o.journal.name)
	o.dir.Log.Error("the spool's journal is damaged: messages that were accepted may be lost, and others may be sent again",
		"dir", o.dir.Path, "entries_missing", missing, "original", aside, "err", err)
}
