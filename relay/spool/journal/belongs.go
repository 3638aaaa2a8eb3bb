package journal

import (
	"errors"
	"fmt"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// Database is what the database knows of its journal.
type Database struct {
	Salt    int64 // of the journal that its last transaction took in; 0: not known
	Commits int64 // the number of its last transaction
	Seq     int64 // the highest number that it has given to a message
	// Record is the message of a number, or relay.ErrNotFound.
	Record func(seq int64) (*spool.Record, error)
}

// Foreign says why a journal is not, or not for sure, the one that the database was last written with; ""
// when it is, or holds nothing.
func (j *Journal) Foreign(db Database) (why string, err error) {
	switch {
	case len(j.entries) == 0 || j.Salt == db.Salt || j.Base > db.Commits:
		// With a base that the database has not reached it is the database whose end is missing.
		return "", nil
	case db.Salt == 0 && j.Base == db.Commits:
		return "", nil
	case db.Salt == 0:
		return j.untaken(db)
	}
	return "the database was last written with another one", nil
}

// untaken looks in a database that does not know which journal it has taken in for signs that it was not this
// one: a release without a journal went on writing to it. Why is "" when there are none.
func (j *Journal) untaken(db Database) (why string, err error) {
	if last := j.entries[len(j.entries)-1].commit; db.Commits <= last {
		return fmt.Sprintf("it goes up to transaction %d and the database, which has %d, has not taken it in",
			last, db.Commits), nil
	}
	for i := range j.entries {
		r := new(Changes).add(&j.entries[i])
		if r == nil {
			continue
		}
		if r.Seq > db.Seq {
			return fmt.Sprintf("message %s has the number %d, and the database has given no more than %d",
				r.ID, r.Seq, db.Seq), nil
		}
		stored, err := db.Record(r.Seq)
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
