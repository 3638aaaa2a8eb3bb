package sqlite

import "mailwhy/relay/spool/files"

// replay brings what is in the journal into the database. One of an earlier format becomes one of this format
// with the same commit.
func (o *opener) replay(t *tx) error {
	format, err := version(t.conn)
	if err != nil {
		return err
	}
	if err := o.fit(t); err != nil {
		return err
	}
	c := o.journal.changes(t.n.commits, o.was.Commits)
	o.reportMissing(c.missing)
	if c.none() && format == files.Format {
		return nil
	}
	last := o.journal.last(t.n.commits)
	if err := t.begin(); err != nil {
		return err
	}
	if format < files.Format {
		if err := t.migrate(); err != nil {
			return err
		}
	}
	if err := applyChanges(t, &c); err != nil {
		return err
	}
	t.n.commits, t.n.journal = last+1, o.journal.salt
	if err := t.storeCounts(); err != nil {
		return err
	}
	o.s.o.at("before the commit")
	err = t.commit()
	o.s.o.at("committed")
	return err
}

// applyChanges makes the changes of a journal.
func applyChanges(t *tx, c *changes) error {
	for _, r := range c.come {
		if _, err := t.insert(r, r.Data); err != nil {
			return err
		}
	}
	for _, id := range c.gone {
		if err := t.deleteByID(id); err != nil {
			return err
		}
	}
	return t.takeReported(c.reported, c.reports)
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
