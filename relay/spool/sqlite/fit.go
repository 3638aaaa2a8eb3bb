package sqlite

import (
	"errors"
	"fmt"
	"os"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// fit looks whether the journal belongs to the database, which is open and has not taken it in in this
// process. One that does not is set aside, with whatever it holds.
func (o *opener) fit(t *database.Tx) error {
	if err := o.leftover(); err != nil {
		return err
	}
	j := &o.journal
	why, err := foreign(j, t.Conn, t.Counts)
	if err != nil {
		return err
	}
	switch {
	case why != "":
		err = o.reportForeign(j, why)
	case len(j.entries) > 0 && j.base < t.Counts.Commits && t.Counts.Journal == 0:
		err = o.keepTaken(j)
	case len(j.entries) == 0 && !j.empty():
		return o.reportUnreadable(j)
	default:
		return nil
	}
	*j = journalled{}
	return err
}

// keepTaken keeps a journal that the database has taken in by all signs: format 1 gives no certainty.
func (o *opener) keepTaken(j *journalled) error {
	aside, err := o.dir.MoveAside(j.name)
	if err != nil {
		return err
	}
	o.dir.Log.Info("the journal of an earlier release is kept; "+
		"as far as can be seen its messages have all been in the database since",
		"dir", o.dir.Path, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// reportUnreadable keeps a copy of a journal of which no entry can be read whole: a power cut leaves one when it
// comes during the first write, which nobody was told of, and damage may.
func (o *opener) reportUnreadable(j *journalled) error {
	aside, err := o.dir.SetAside(j.name)
	if err != nil {
		return err
	}
	o.dir.Log.Warn("what is in the spool's journal cannot be read; a copy is kept",
		"dir", o.dir.Path, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// leftover deals with a journal of format 1 beside one of this format.
func (o *opener) leftover() error {
	if o.journal.name != files.Journal {
		return nil
	}
	b, err := os.ReadFile(o.dir.File(files.Journal1))
	if err != nil {
		return files.IgnoreMissing(err)
	}
	j := parseJournal(b)
	if j.name = files.Journal1; j.empty() {
		return os.Remove(o.dir.File(j.name))
	}
	return o.reportForeign(&j, "there is a newer one beside it")
}

// foreign says why a journal is not, or not for sure, the one that the database was last written with; ""
// when it is, or holds nothing.
func foreign(j *journalled, c *database.Conn, n database.Counts) (why string, err error) {
	switch {
	case len(j.entries) == 0 || j.salt == n.Journal || j.base > n.Commits:
		// With a base that the database has not reached it is the database whose end is missing, see
		// tellLost.
		return "", nil
	case n.Journal == 0 && j.base == n.Commits:
		return "", nil
	case n.Journal == 0:
		return untaken(j, c, n)
	}
	return "the database was last written with another one", nil
}

// untaken looks in a database that does not know which journal it has taken in for signs that it was not this
// one: a release without a journal went on writing to it. Why is "" when there are none.
func untaken(j *journalled, c *database.Conn, n database.Counts) (why string, err error) {
	if last := j.entries[len(j.entries)-1].commit; n.Commits <= last {
		return fmt.Sprintf("it goes up to transaction %d and the database, which has %d, has not taken it in",
			last, n.Commits), nil
	}
	for i := range j.entries {
		r := new(changes).add(&j.entries[i])
		if r == nil {
			continue
		}
		if r.Seq > n.Seq {
			return fmt.Sprintf("message %s has the number %d, and the database has given no more than %d", r.ID,
				r.Seq, n.Seq), nil
		}
		stored, err := c.RecordAt(r.Seq)
		if errors.Is(err, relay.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if stored.ID != r.ID {
			return fmt.Sprintf("the number of message %s is that of another one in the database, %s", r.ID,
				stored.ID), nil
		}
	}
	return "", nil
}

// reportForeign sets a journal aside that does not belong to the database, and tells how to get at what it
// holds.
func (o *opener) reportForeign(j *journalled, why string) error {
	aside, err := o.dir.MoveAside(j.name)
	if err != nil {
		return err
	}
	o.dir.Log.Error("the spool has a journal that does not belong to its database; "+
		"it is set aside, and its messages are not in the queue",
		"dir", o.dir.Path, "why", why, "messages", len(j.all().come), "file", aside,
		"fix", "mailwhy queue recover "+aside)
	return nil
}
