// Package sqlite is the durable queue: the embedded engine behind relay.Spool, on SQLite.
//
// It is opened by cmd/mailwhy, and used by the front door (Put), the lanes (Lease, Extend, Content,
// Settle), the reporter (DueNotices, Report) and the queue commands (List, Edit). One process has a
// directory open at a time.
//
// # The files
//
// spool.db with its log (write-ahead mode, every commit synced) holds messages, small contents, notices and a
// little accounting; schema.go has the tables, for an operator's sqlite3 shell. journal-2 has what is not in
// the database yet: mail that is relayed at once, reports too, never gets there (pending.go says how,
// journal.go what the file is like, replay.go how it is read after a crash). Contents above a limit are files
// under content, synced with their directory before the message is committed. marks-2 is written without
// syncing and survives the end of the process, not of the machine (runstate). reserve is room kept for the
// time when the disk is full. lock is locked.
// damaged receives the originals of whatever had to be repaired, and journals that do not belong to the
// database. All files are the owner's alone (private.go).
//
// The files have a format with a number (format.go). One of an earlier format is migrated when it is opened,
// one of a later one refused.
//
// # What always holds
//
//   - Put returns nil only after the commit, or the write to the journal, which is synced. An error of Put
//     means that nothing was stored.
//   - A settlement and the notices that it causes are one transaction, and so are a report and the notices
//     that it tells.
//   - Each transaction of the database takes with it all that the journal holds, and whoever reads the
//     database has had that done before. The entries of the journal count until then, and no longer. The
//     database knows by its salt which journal it has taken in; entries of another one are set aside, never
//     dropped (fit.go).
//   - One goroutine writes (writer.go). It starts at once when it is idle; what comes during a commit is
//     the next one. Callers' contexts do not reach it. An operation that SQLite refuses costs only itself.
//     Settlements alone may be held for 2 ms, for the next message to share their commit.
//   - Leases are in memory: they end with the process. A lease costs no write to the database.
//   - Memory does not grow with the queue. Everything due is found by an index; queue/lane.go says in which
//     order. New messages, up to Limits.Cache bytes, are leased from memory (queue/memory.go); whatever else
//     changes a line's rows forgets these.
//   - Readers have connections of their own and are short-lived, so that the log can be cut.
//   - A settlement that cannot be written waits in memory, first in line. While one waits nothing is leased.
//   - After any error of a commit but a full disk the database is closed. It is used again only after it
//     was opened anew and its log was copied into it and synced; what was refused meanwhile is removed
//     then, should it be there (outage.go).
//   - Contents and states carry checksums, and are verified when they are read. What cannot be read is set
//     aside and named; the rest goes on (quarantine.go). A damaged log is mended before SQLite sees it
//     (wal.go), and a damaged database rebuilt from what its tables, indexes and pages still say
//     (salvage.go).
//   - Nothing is deleted because it is damaged or not understood.
//
// A due time is a wall clock's. One that lies further ahead than Options.MaxDelay can only come from a
// clock that was set back, and counts as due.
package sqlite
