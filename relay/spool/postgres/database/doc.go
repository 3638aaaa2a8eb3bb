// Package database is the tables of the queue on PostgreSQL, and the SQL: nothing here knows of lanes, leases
// in memory or retries. relay/spool/postgres is its only user.
//
// A message is in one of two tables. In fresh it is leased to the process that accepted it, from its first
// moment on: a row comes and goes, with its content in it, and is never changed. All others are in msg, where
// the index of what is due is, with their contents beside them in parts.
//
// A process is an incarnation, a random number in the table fence, whose heartbeat is in beat. Its leases are
// the rows that it owns: all of them end with it, when its heartbeat has lapsed and another one fences it.
// Each transaction that writes begins with hold(), which refuses one that was fenced, and keeps it from being
// fenced meanwhile.
//
// All statements take the rows they lock or delete in the order of ids, and a transaction takes the tables in
// the order of Changes.queue, so that two of them do not wait for each other.
package database

import (
	"embed"
	"fmt"
	"io/fs"

	"mailwhy/relay/internal/postgres"
)

//go:embed migrations
var migrations embed.FS

// Tables are those of the queue, for postgres.Config.Migrate.
func Tables() postgres.Tables {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		panic(fmt.Sprint("the migrations are not in the program: ", err))
	}
	t := postgres.Tables{Component: "spool", MinReader: 1}
	for _, name := range names { // sorted, and numbered
		b, err := migrations.ReadFile(name)
		if err != nil {
			panic(err)
		}
		t.Steps = append(t.Steps, string(b))
	}
	return t
}

// The SQLSTATEs of our own functions; see migrations/001.sql.
const (
	CodeFenced = "MW001" // another process has taken this one for dead
	CodeStale  = "MW002" // another consumer has the entries, or has answered them
)

// InlineLimit is the largest content, in bytes, that is kept in one piece with its message, and read with it.
const InlineLimit = 64 << 10

// PartSize is the size of the parts of larger contents.
const PartSize = 1 << 20
