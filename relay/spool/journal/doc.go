// Package journal is the journal of a spool: a file for messages that come and go while their lane keeps up.
// They are written to it, with one plain write and one fdatasync for all that wait, and never reach the
// database.
//
// The engine's writer (spool/sqlite) writes it (File). A start reads what the process before has left (Read),
// asks whether it belongs to the database (Journal.Foreign) and brings its Changes there. The command queue
// recover reads the messages of a journal that was set aside (ReadMessages). It knows nothing of SQL: what it
// has to know of the database is handed to it (Database).
//
// # The file
//
// A page with the format and the salt, and transactions, each beginning at a page. A transaction is entries
// one after the other, padded to eight bytes; the rest of its last page is zero. An entry is a header and a
// body:
//
//	offset  0  magic, with the format
//	        4  length of the body
//	        8  salt: random, new whenever the journal is opened. No content can imitate an entry.
//	       16  base: the number of the last transaction of the database (meta.commits)
//	       24  number of this transaction, counted on from there
//	       32  number of the entry since base, from 1
//	       36  kind, and whether it is the last one of its transaction
//	       40  CRC-32C of all the rest
//
// Numbers are little-endian.
//
// # What always holds
//
//   - Write returns nil only when the transaction is on the disk.
//   - The file is as large as it ever gets, so that a write changes no metadata and needs no room.
//   - Entries count as long as the database has no later transaction than their base: with the next one all
//     that is in the journal is in the database too, and the file is written from its beginning again.
//   - That a journal is the database's own the database knows by the salt: none is written to before a
//     transaction of the database has noted its salt.
//   - A power cut may leave any part of the last transaction, which nobody was told of. Whatever else cannot
//     be read was there, and is counted (Changes.Missing). Entries that are damaged are found again by their
//     magic number, and yield what can be made out of them; texts and contents have checksums of their own.
//   - Reading changes nothing.
package journal
