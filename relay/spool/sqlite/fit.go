package sqlite

import (
	"errors"
	"fmt"
	"os"

	"mailwhy/relay"
	"mailwhy/relay/internal/durable"
)

// fit looks whether the journal belongs to the database, which is open and has not taken it in in this
// process. One that does not is set aside, with whatever it holds.
func (s *Spool) fit(t *tx) error {
	if err := s.leftover(); err != nil {
		return err
	}
	j := &s.journalled
	why, err := j.strange(t.conn, t.n)
	if err != nil {
		return err
	}
	switch {
	case why != "":
		err = s.tellStrange(j, why)
	case len(j.entries) > 0 && j.base < t.n.commits && t.n.journal == 0:
		err = s.keepTaken(j)
	case len(j.entries) == 0 && !j.empty():
		return s.tellUnreadable(j)
	default:
		return nil
	}
	*j = journalled{}
	return err
}

// keepTaken keeps a journal that the database has taken in by all signs: format 1 gives no certainty.
func (s *Spool) keepTaken(j *journalled) error {
	aside, err := s.moveAside(j.name)
	if err != nil {
		return err
	}
	s.o.Log.Info("the journal of an earlier release is kept; "+
		"as far as can be seen its messages have all been in the database since",
		"dir", s.o.Dir, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// tellUnreadable keeps a copy of a journal of which no entry can be read whole: a power cut leaves one when it
// comes during the first write, which nobody was told of, and damage may.
func (s *Spool) tellUnreadable(j *journalled) error {
	aside, err := s.setAside(j.name)
	if err != nil {
		return err
	}
	s.o.Log.Warn("what is in the spool's journal cannot be read; a copy is kept",
		"dir", s.o.Dir, "file", aside, "look", "mailwhy queue recover "+aside)
	return nil
}

// leftover deals with a journal of format 1 beside one of this format.
func (s *Spool) leftover() error {
	if s.journalled.name != journalName {
		return nil
	}
	b, err := os.ReadFile(s.path(journalName1))
	if err != nil {
		return ignoreMissing(err)
	}
	j := parseJournal(b)
	if j.name = journalName1; j.empty() {
		return os.Remove(s.path(j.name))
	}
	return s.tellStrange(&j, "there is a newer one beside it")
}

// empty reports whether a journal holds nothing.
func (j *journalled) empty() bool {
	return len(j.entries) == 0 && len(j.broken) == 0 && len(j.newer) == 0
}

// strange says why a journal is not, or not for sure, the one that the database was last written with; ""
// when it is, or holds nothing.
func (j *journalled) strange(c *conn, n counts) (why string, err error) {
	switch {
	case len(j.entries) == 0 || j.salt == n.journal || j.base > n.commits:
		// With a base that the database has not reached it is the database whose end is missing, see
		// tellLost.
		return "", nil
	case n.journal == 0 && j.base == n.commits:
		return "", nil
	case n.journal == 0:
		return j.untaken(c, n)
	}
	return "the database was last written with another one", nil
}

// untaken looks in a database that does not know which journal it has taken in for signs that it was not this
// one: a release without a journal went on writing to it. Why is "" when there are none.
func (j *journalled) untaken(c *conn, n counts) (why string, err error) {
	if last := j.entries[len(j.entries)-1].commit; n.commits <= last {
		return fmt.Sprintf("it goes up to transaction %d and the database, which has %d, has not taken it in",
			last, n.commits), nil
	}
	for i := range j.entries {
		r := new(changes).add(&j.entries[i])
		if r == nil {
			continue
		}
		if r.seq > n.seq {
			return fmt.Sprintf("message %s has the number %d, and the database has given no more than %d", r.id,
				r.seq, n.seq), nil
		}
		stored, err := c.one("seq=?", r.seq)
		if errors.Is(err, relay.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if stored.id != r.id {
			return fmt.Sprintf("the number of message %s is that of another one in the database, %s", r.id,
				stored.id), nil
		}
	}
	return "", nil
}

// tellStrange sets a journal aside that does not belong to the database, and tells how to get at what it
// holds.
func (s *Spool) tellStrange(j *journalled, why string) error {
	aside, err := s.moveAside(j.name)
	if err != nil {
		return err
	}
	s.o.Log.Error("the spool has a journal that does not belong to its database; "+
		"it is set aside, and its messages are not in the queue",
		"dir", s.o.Dir, "why", why, "messages", len(j.all().come), "file", aside,
		"fix", "mailwhy queue recover "+aside)
	return nil
}

// moveAside moves a file of the spool into the directory for damaged files, and returns its new name.
func (s *Spool) moveAside(name string) (string, error) {
	dir, err := s.damagedPath()
	if err != nil {
		return "", err
	}
	aside := dir + "-" + name
	if err := os.Rename(s.path(name), aside); err != nil {
		return "", fmt.Errorf("setting a journal aside: %w", err)
	}
	return aside, errors.Join(durable.SyncDir(s.path(damagedDir)), durable.SyncDir(s.o.Dir))
}
