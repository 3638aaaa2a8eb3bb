// Package repair puts the files of a spool right that the hardware has damaged, before SQLite sees them.
//
// The engine (spool/sqlite) calls it when a spool is opened, and when a query meets damage: MendLog finds a
// log in which a flipped bit would undo every later transaction, Salvage replaces a damaged database by one
// with all that its tables, indexes and pages still say, and ResumeRebuild goes on where a crash interrupted
// that. CheckFormat refuses a spool of a later format before anything is changed.
//
// It reads SQLite's files by their format (https://www.sqlite.org/fileformat2.html), and the database's
// tables through spool/database. It knows neither the queue nor the journal.
//
// # What always holds
//
//   - The originals of whatever is changed are set aside first, in the directory damaged.
//   - What is taken from a damaged database has the checksums of our own right. What is lost is named in the
//     log and in the table quarantine.
//   - A crash at any point leaves the damaged database or the rebuilt one, whole.
//   - A database is closed while its files are repaired.
package repair
