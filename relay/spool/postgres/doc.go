// Package postgres is the durable queue on PostgreSQL: an engine behind relay.Spool that any number of
// processes share. relay/app opens it.
//
// # Its parts
//
// database has the tables and the SQL, and says what each is for; relay/internal/postgres the connections,
// migrations, and what is known of a commit. Here put.go, staged.go, settle.go, outbox.go and edit.go make
// the changes, and writer.go gathers them into transactions; memory.go keeps the mail that this process has
// leased but not handed out, lease.go hands it out; incarnation.go is the heartbeat, and what is done about
// the processes whose hearts have stopped.
//
// # The life of a message
//
// A small message for one lane is stored leased to the process that accepts it, if that process has lately
// asked for the lane's mail and is not behind; it is then leased from memory, and removed by its
// settlement: two statements in all. All other mail is free for anybody, in the order of its turn. What
// nobody in this process asks for within a heartbeat is given to the others.
//
// # What always holds
//
//   - Put, Settle and Consume return nil only after a commit that is on the synchronous standby, if there
//     is to be one. A commit that may have happened or not is tried again, under the same id and in such a
//     way that it does no harm twice; a Put that is still in doubt at the end of Options.CommitTimeout is
//     an error, and what there is of it is removed when that can be done.
//   - A lease is used only after its commit, too: so after a promotion nobody else has it.
//   - All leases of a process rest on its heartbeat. When that has not been heard for Options.DeadAfter
//     another process fences it and takes over: from then on none of its transactions succeeds. A process
//     that cannot be heard leases nothing after two thirds of that time. Deadlines of single leases are
//     kept in memory.
//   - A report and the entries that it answers are one transaction, which is refused if somebody else has
//     claimed the entries, or has answered them in another way.
//   - While the database is away Put refuses at once, nothing is leased, and settlements wait in memory.
//   - All messages of a transaction are taken in the order of their ids.
//
// Not promised: order between processes, and fairness beyond that each process gives turns fairly and takes
// what is due again for half of what it leases.
package postgres
