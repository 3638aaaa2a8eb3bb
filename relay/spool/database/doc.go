// Package database is the database of a spool: what knows its tables and speaks SQL. It opens connections to
// SQLite (Conn, Pool), makes the schema, reads rows as spool.Records, and changes them within transactions
// (Tx).
//
// The engine (spool/sqlite) calls it: its writer has the one connection that writes, its readers take theirs
// from a Pool. The repair of damaged files (spool/repair) reads what is left of a database through it, and
// writes the new one. It knows neither the queue nor the journal, and has no goroutine of its own.
//
// schema.go has the tables, for an operator's sqlite3 shell.
//
// # What always holds
//
//   - A Conn, and so a Tx, is for one goroutine at a time. A Pool is for any number of them.
//   - Every commit is synced before Commit returns. When Commit fails the transaction may be on the disk all
//     the same: only a database that was opened anew tells.
//   - Counts are those of the transaction: StoreCounts writes them within it, so they are always those of the
//     rows.
//   - A settlement changes neither the head of a message nor its content; both have a place of their own.
//   - Readers are short-lived: a list is read page by page, so that the log can be cut.
//   - Memory does not grow with the number of messages. What is searched has an index.
//   - Nothing here decides that a row is damaged because of its checksums: Record.Decode does, for who asks.
//     A row that cannot be read as a record at all, and tables that contradict themselves, are a
//     DamagedError.
//
// The statements are the format. The text of the schema is stored in each database, and the repair of a first
// page relies on it: it changes with the number of the format only (files.Format).
package database
