package files

import "fmt"

// Format is the format of the spools that this release writes. It is one number for all files of a spool:
// the database has it as PRAGMA user_version, the journal in its first page and in the magic number of
// its entries.
//
//	1  until 28 November 2026. The first releases had no journal, the ones after them a file "journal",
//	   in which reports came later. None of them looked whether another one had written to the spool
//	   since: going back lost what was in the journal.
//	2  the row of meta says which journal the database has taken in. The journal and the run state have
//	   names of their own, so that a release of format 1, which refuses the database, neither reads nor
//	   changes them before it does.
//	3  a message knows its mail, of which there may be others with the same content, one for each lane; the
//	   outbox, with a topic for each consumer, is in the place of the notices.
//
// A spool of an earlier format becomes one of this format when it is opened, with the one transaction
// that takes in its journal. Before that commit it is of the earlier format, whole, and after it of this
// one; the files that are renamed afterwards have nothing in them that the database has not. A spool of a
// later format is refused before anything is changed.
const Format = 3

// NewerFormat is the error that refuses a spool of a later format.
func NewerFormat(version int64) error {
	return fmt.Errorf("it was written by a newer release: its format is %d, and this release knows formats "+
		"up to %d; nothing was changed. Start the newer release again; to go back to this one, let the "+
		"newer one empty its queue first, and then give this one another, empty directory", version, Format)
}
