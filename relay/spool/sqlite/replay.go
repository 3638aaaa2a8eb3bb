package sqlite

import (
	"os"

	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// replay brings what is in the journal into the database. One of an earlier format becomes one of this format
// with the same commit.
func (o *opener) replay(t *database.Tx) error {
	format, err := t.Version()
	if err != nil {
		return err
	}
	if err := o.fit(t); err != nil {
		return err
	}
	c := o.journal.Changes(t.Counts.Commits, o.was.Commits)
	o.reportMissing(c.Missing)
	if c.None() && format == files.Format {
		return nil
	}
	last := o.journal.Last(t.Counts.Commits)
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
	t.Counts.Commits, t.Counts.Journal = last+1, o.journal.Salt
	if err := t.StoreCounts(); err != nil {
		return err
	}
	o.s.o.at("before the commit")
	err = t.Commit()
	o.s.o.at("committed")
	return err
}

// applyChanges makes the changes of a journal.
func applyChanges(t *database.Tx, c *journal.Changes) error {
	for _, r := range c.Added {
		if _, err := t.Insert(r, r.Data); err != nil {
			return err
		}
	}
	for _, id := range c.Removed {
		if err := t.DeleteByID(id); err != nil {
			return err
		}
	}
	return t.TakeAnswered(c.Answered, c.Reports)
}

// reportMissing tells of entries of the journal that cannot be read.
func (o *opener) reportMissing(missing int) {
	if missing == 0 {
		return
	}
	o.lostTail = true
	aside, err := o.dir.SetAside(o.journal.Name)
	o.dir.Log.Error("the spool's journal is damaged: messages that were accepted may be lost, and others "+
		"may be sent again", "dir", o.dir.Path, "entries_missing", missing, "original", aside, "err", err)
}

// fit looks whether the journal belongs to the database, which is open and has not taken it in in this
// process. One that does not is set aside, with whatever it holds.
func (o *opener) fit(t *database.Tx) error {
	if err := o.leftover(); err != nil {
		return err
	}
	j := &o.journal
	why, err := j.Foreign(knowledgeOf(t.Conn, t.Counts))
	if err != nil {
		return err
	}
	switch {
	case why != "":
		err = o.reportForeign(j, why)
	case j.HasEntries() && j.Base < t.Counts.Commits && t.Counts.Journal == 0:
		err = o.keepTaken(j)
	case !j.HasEntries() && !j.Empty():
		return o.reportUnreadable(j)
	default:
		return nil
	}
	*j = journal.Journal{}
	return err
}

// keepTaken keeps a journal that the database has taken in by all signs: format 1 gives no certainty.
func (o *opener) keepTaken(j *journal.Journal) error {
	aside, err := o.dir.MoveAside(j.Name)
	if err != nil {
		return err
	}
	o.dir.Log.Info("the journal of an earlier release is kept; "+
		"as far as can be seen its messages have all been in the database since",
		"dir", o.dir.Path, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// reportUnreadable keeps a copy of a journal of which no entry can be read whole: a power cut leaves one
// when it comes during the first write, which nobody was told of, and damage may.
func (o *opener) reportUnreadable(j *journal.Journal) error {
	aside, err := o.dir.SetAside(j.Name)
	if err != nil {
		return err
	}
	o.dir.Log.Warn("what is in the spool's journal cannot be read; a copy is kept",
		"dir", o.dir.Path, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// leftover deals with a journal of format 1 beside one of this format.
func (o *opener) leftover() error {
	if o.journal.Name != files.Journal {
		return nil
	}
	b, err := os.ReadFile(o.dir.File(files.Journal1))
	if err != nil {
		return files.IgnoreMissing(err)
	}
	j := journal.Parse(b)
	if j.Name = files.Journal1; j.Empty() {
		return os.Remove(o.dir.File(j.Name))
	}
	return o.reportForeign(&j, "there is a newer one beside it")
}

// reportForeign sets a journal aside that does not belong to the database, and tells how to get at what it
// holds.
func (o *opener) reportForeign(j *journal.Journal, why string) error {
	aside, err := o.dir.MoveAside(j.Name)
	if err != nil {
		return err
	}
	o.dir.Log.Error("the spool has a journal that does not belong to its database; "+
		"it is set aside, and its messages are not in the queue",
		"dir", o.dir.Path, "why", why, "messages", len(j.All().Added), "file", aside,
		"fix", "mailwhy queue recover "+aside)
	return nil
}

// knowledgeOf is what a database that holds n knows of its journal.
func knowledgeOf(c *database.Conn, n database.Counts) journal.Database {
	return journal.Database{Salt: n.Journal, Commits: n.Commits, Seq: n.Seq, Record: c.RecordAt}
}
