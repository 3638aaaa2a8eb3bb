// Package postgres lets relays share a provider's limits, duties, news, suppressions and tokens through a
// PostgreSQL database: relay.Coordination, and the parts for the suppression list and for OAuth. relay/app
// opens one Cluster for a process.
//
//	engine   engine.go    the connections, and a time limit for each call
//	schema   schema.go    the tables
//	Cluster  cluster.go   the member: its beat, the other members, its end
//	Shares   shares.go    relay/cluster/share on a row for each account
//	Duties   duties.go
//	Board    board.go, watch.go
//	secrets  secrets.go   sealed with a key that the database never sees
//	list     suppressions.go
//
// What always holds:
//
//   - The engine's clock decides (clock_timestamp), never a member's.
//   - A call is one statement, a Take two: it reads the account, and writes it if nobody else did meanwhile.
//     No lock is held from one statement to the next, so that a frozen member holds up nobody.
//   - Nothing rests on a session: statements are not prepared, nothing is set, nothing is listened to. A
//     pooler in transaction mode may stand between.
//   - Versions of the board and of the suppression list are given by a row that is locked until the commit:
//     who has seen one has seen all lower ones.
//   - A call that is not answered within its time ends with an error, and its connection is dropped: a commit
//     that waits for a standby waits for ever.
//   - Nobody waits until a standby has what coordinates (synchronous_commit is local, and off for beats and
//     for rates that are not exact): after a promotion the newest of it may be missing, which costs a message
//     or two above a limit. Secrets and suppressions are committed as the server is configured.
package postgres
