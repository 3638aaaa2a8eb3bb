// Package sqlite is the durable queue: the embedded engine behind relay.Spool, on SQLite.
//
// relay/app opens it, and the front door (Put), the lanes (Lease, Extend, Content, Settle), the reporter
// (Claim, Consume, Postpone) and the queue commands (List, Edit) use it. One process has a directory open at
// a time.
//
// # Its parts
//
// The engine joins what others know: spool/database the tables and SQL, spool/journal the file of what comes
// and goes at once, spool/queue the order of the lanes, leases and claims, spool/runstate what a crash is
// told by, spool/files the directory, spool/repair what to do about damage. start.go and replay.go open a
// spool; put.go, settle.go, outbox.go and edit.go make the changes; writer.go writes them, pending.go keeps
// what only the journal has, and outage.go is for the time when nothing can be written.
//
// # The files
//
// spool.db with its log (write-ahead mode, every commit synced) holds messages, small contents, the outbox
// and a little accounting. journal-2 has what is not in the database yet: mail that is relayed at once,
// reports too, never gets there. Contents above a limit are files under content, synced with their directory
// before the message is committed; the messages of one mail share theirs. marks-2 is written without syncing
// and survives the end of the process, not of the machine. reserve is room kept for the time when the disk
// is full. lock is locked. damaged receives the originals of whatever had to be repaired, and journals that
// do not belong to the database. All files are the owner's alone.
//
// The files have a format with a number (files.Format). One of an earlier format is migrated when it is
// opened, one of a later one refused.
//
// # What always holds
//
//   - Put returns nil only after the commit, or the write to the journal, which is synced. An error of Put
//     means that nothing was stored.
//   - A settlement and what is owed for it are one transaction, and so are a report and the entries of the
//     outbox that it answers.
//   - Each transaction of the database takes with it all that the journal holds, and whoever reads the
//     database has had that done before. The entries of the journal count until then, and no longer. The
//     database knows by its salt which journal it has taken in; entries of another one are set aside, never
//     dropped.
//   - One goroutine writes. It starts at once when it is idle; what comes during a commit is the next one.
//     Callers' contexts do not reach it. An operation that SQLite refuses costs only itself. Settlements
//     alone may be held for 2 ms, for the next message to share their commit.
//   - Leases and claims are in memory: they end with the process, and by the monotonic clock. Neither costs
//     a write to the database.
//   - Memory does not grow with the queue. Everything due is found by an index; queue/lane.go says in which
//     order. New messages, up to Limits.Cache bytes, are leased from memory (queue/memory.go); whatever else
//     changes the rows of a lane forgets these.
//   - Readers have connections of their own and are short-lived, so that the log can be cut.
//   - A settlement that cannot be written waits in memory, first in line. While one waits nothing is leased.
//   - After any error of a commit but a full disk the database is closed. It is used again only after it
//     was opened anew and its log was copied into it and synced; what was refused meanwhile is removed
//     then, should it be there.
//   - Contents and states carry checksums, and are verified when they are read. What cannot be read is set
//     aside and named; the rest goes on.
//   - Nothing is deleted because it is damaged or not understood.
//
// A due time is a wall clock's. One that lies further ahead than Options.MaxDelay can only come from a
// clock that was set back, and counts as due.
package sqlite
