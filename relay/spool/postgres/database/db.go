package database

import (
	"context"

	"mailwhy/relay/internal/postgres"
)

// DB is where the tables are. It is safe for concurrent use.
type DB struct{ *postgres.Config }

// hold is the first statement of a transaction that writes; see migrations/001.sql.
const hold = `select @.hold($1)`

// noSync is the first statement of a transaction that may be lost at a crash.
const noSync = `select set_config('synchronous_commit', 'off', true) where $1::bigint is not null`

// synced begins a transaction that is durable when it has succeeded, unless me was taken over.
func (d *DB) synced(me int64) *statements {
	s := &statements{sql: d.SQL, me: me}
	s.add(hold)
	return s
}

// unsynced begins a transaction of which no harm comes if it is lost.
func (d *DB) unsynced(me int64) *statements {
	s := &statements{sql: d.SQL, me: me}
	s.add(noSync)
	return s
}

// Apply makes changes, as one transaction. Its errors are those of postgres.Conn.Transact.
func (d *DB) Apply(ctx context.Context, c *postgres.Conn, me int64, ch *Changes) error {
	s := d.synced(me)
	ch.Me = me
	ch.queue(s)
	return c.Transact(ctx, &s.Batch)
}
