// Package pgschema makes the tables of a room on PostgreSQL, and brings those of an earlier release up to
// date. Rooms that share a database share a schema, and each has steps of its own, which are numbered from 1.
// A step that was released is never changed: what is to be different is another step, and it only adds, since
// relays of the release before go on working while an upgrade is rolled out.
package pgschema

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Room is a part of the schema.
type Room struct {
	Name  string   // in the table of versions
	Steps []string // statements, in which {} stands for the schema, quoted
	// Reads is the oldest release's number of steps that reads and writes this schema rightly.
	Reads int
}

// OldestServer is the oldest release of PostgreSQL that is used.
const OldestServer = 13

// lockTimeout is how long a step waits for relays that use a table, or that migrate too.
const lockTimeout = 10 * time.Second

// Quoted is a schema's name as statements have it.
func Quoted(schema string) string { return pgx.Identifier{schema}.Sanitize() }

// Fill puts the schema's name into a statement, in which {} stands for it.
func Fill(statement, schema string) string {
	return strings.ReplaceAll(statement, "{}", Quoted(schema))
}

// Supported returns an error for a server that is not PostgreSQL, though it speaks its protocol, or too old.
func Supported(ctx context.Context, c *pgx.Conn) error {
	var name string
	var number int
	err := c.QueryRow(ctx, "SELECT version(), current_setting('server_version_num')::int",
		pgx.QueryExecModeExec).Scan(&name, &number)
	if err != nil {
		return err
	}
	for text, product := range map[string]string{"cockroach": "CockroachDB", "-yb-": "YugabyteDB"} {
		if strings.Contains(strings.ToLower(name), text) {
			return fmt.Errorf("%s is not supported: its locking differs from PostgreSQL's, on which this "+
				"relies; use PostgreSQL %d or later", product, OldestServer)
		}
	}
	if number < OldestServer*10000 {
		return fmt.Errorf("PostgreSQL %d is too old: %d or later is needed", number/10000, OldestServer)
	}
	return nil
}

// Migrate makes what is missing of a room's part of a schema. Of several relays that start at a time one does
// so, and the others wait for it. It needs the right to create only where something is to be made.
func Migrate(ctx context.Context, c *pgx.Conn, schema string, room Room) error {
	if n, reads, err := version(ctx, c, schema, room.Name); err == nil && n >= len(room.Steps) {
		return readable(schema, room, n, reads)
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err = migrate(ctx, tx, schema, room); err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("preparing the schema %q: %w", schema, err)
	}
	return nil
}

// migrate takes the steps that are missing.
func migrate(ctx context.Context, tx pgx.Tx, schema string, room Room) error {
	setup := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = 0; "+
		"SELECT pg_advisory_xact_lock(hashtext('mailwhy'), hashtext('%s'))", lockTimeout.Milliseconds(),
		strings.ReplaceAll(schema, "'", "''"))
	if _, err := tx.Exec(ctx, setup, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	var exists bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
		pgx.QueryExecModeExec, schema).Scan(&exists)
	if err == nil && !exists {
		err = run(ctx, tx, schema, "CREATE SCHEMA {}")
	}
	if err == nil {
		err = run(ctx, tx, schema, `CREATE TABLE IF NOT EXISTS {}.version
			(room text PRIMARY KEY, steps int NOT NULL, reads int NOT NULL)`)
	}
	if err != nil {
		return err
	}
	n, reads, err := version(ctx, tx, schema, room.Name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	for i := n; i < len(room.Steps); i++ {
		if err := run(ctx, tx, schema, room.Steps[i]); err != nil {
			return fmt.Errorf("step %d of %s: %w", i+1, room.Name, err)
		}
	}
	if n >= len(room.Steps) {
		return readable(schema, room, n, reads)
	}
	_, err = tx.Exec(ctx, Fill(`INSERT INTO {}.version VALUES ($1, $2, $3) ON CONFLICT (room)
		DO UPDATE SET steps = excluded.steps, reads = greatest(version.reads, excluded.reads)`, schema),
		pgx.QueryExecModeExec, room.Name, len(room.Steps), room.Reads)
	return err
}

// run runs statements.
func run(ctx context.Context, tx pgx.Tx, schema, statements string) error {
	_, err := tx.Exec(ctx, Fill(statements, schema), pgx.QueryExecModeSimpleProtocol)
	return err
}

// querier is a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// version is how far a room's part of a schema is, and which releases can use it.
func version(ctx context.Context, q querier, schema, room string) (steps, reads int, err error) {
	err = q.QueryRow(ctx, Fill("SELECT steps, reads FROM {}.version WHERE room = $1", schema),
		pgx.QueryExecModeExec, room).Scan(&steps, &reads)
	return steps, reads, err
}

// readable returns an error if this release cannot use the schema that a later one has made.
func readable(schema string, room Room, n, reads int) error {
	if len(room.Steps) >= reads {
		return nil
	}
	return fmt.Errorf("the schema %q is of a later release: its part %s has %d steps, and a release with at "+
		"least %d of them is needed; this one has %d", schema, room.Name, n, reads, len(room.Steps))
}
