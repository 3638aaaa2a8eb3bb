package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Tables are what one component has in the schema. Steps are only added, and only add to what is there, so
// that programs of before and after can use the tables at the same time.
type Tables struct {
	Component string
	Steps     []string // the SQL of version 1, 2 ...; with "@" for the schema
	// MinReader is the lowest version that a program must know to use the tables as the newest step leaves
	// them. It is raised a release after the step that asks for it.
	MinReader int
}

// migrateWithin is how long a migration waits for a lock that others hold, before it lets those behind it in
// the line go first, and tries again.
const migrateWithin = "2s"

// ErrTooOld is returned by Migrate to a program that is older than the tables allow.
var ErrTooOld = errors.New("this mailwhy is too old for the tables in the database")

// Migrate brings the tables to the newest version, and makes them the first time. Any number of programs
// may do it at once. It refuses databases that only look like PostgreSQL.
func (c *Config) Migrate(ctx context.Context, conn *Conn, t Tables) error {
	if err := c.RefuseOthers(ctx, conn); err != nil {
		return err
	}
	for {
		err := c.migrate(ctx, conn, t)
		if Code(err) != "55P03" { // lock_not_available
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("migrating the tables of %s: %w", t.Component, err)
		}
	}
}

// migrate is one try of Migrate.
func (c *Config) migrate(ctx context.Context, conn *Conn, t Tables) error {
	if done, err := c.check(ctx, conn, t); done || err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn.Conn, func(tx pgx.Tx) error {
		run := func(sql string) error {
			// Without arguments it may be several statements.
			_, err := tx.Conn().PgConn().Exec(ctx, c.SQL(sql)).ReadAll()
			return err
		}
		if err := run("set local lock_timeout = '" + migrateWithin + "'; set local synchronous_commit = on;" +
			" select pg_advisory_xact_lock(hashtextextended('mailwhy @', 0))"); err != nil {
			return err
		}
		if err := c.makeSchema(ctx, tx, run); err != nil {
			return err
		}
		version, err := c.version(ctx, tx, t)
		if err != nil || version >= len(t.Steps) {
			return err
		}
		for i, step := range t.Steps[version:] {
			if err := run(step); err != nil {
				return fmt.Errorf("step %d of the tables of %s: %w", version+i+1, t.Component, err)
			}
		}
		_, err = tx.Exec(ctx, c.SQL("insert into @.meta (component, version, min_reader) values ($1, $2, $3)"+
			" on conflict (component) do update set version = $2, min_reader = $3"),
			t.Component, len(t.Steps), t.MinReader)
		return err
	})
}

// makeSchema makes the schema and its table meta. The schema may have been made by somebody with more rights.
func (c *Config) makeSchema(ctx context.Context, tx pgx.Tx, run func(string) error) error {
	var there bool
	err := tx.QueryRow(ctx, "select exists (select 1 from pg_namespace where nspname = $1)",
		c.Schema).Scan(&there)
	if err == nil && !there {
		err = run("create schema @")
	}
	if err != nil {
		return err
	}
	return run("create table if not exists @.meta (component text primary key, version int not null," +
		" min_reader int not null)")
}

// Check is an error where the tables are missing, or this program is too old for them. It changes nothing.
func (c *Config) Check(ctx context.Context, conn *Conn, t Tables) error {
	var there bool
	err := conn.QueryRow(ctx, "select to_regclass($1) is not null", c.Schema+".meta").Scan(&there)
	if err != nil {
		return err
	}
	version := 0
	if there {
		if version, err = c.version(ctx, conn, t); err != nil {
			return err
		}
	}
	if version == 0 {
		return fmt.Errorf("the schema %s has no tables of %s: no relay has used it yet", c.Schema,
			t.Component)
	}
	return nil
}

// check reports whether the tables are there and need no step: then nothing is locked.
func (c *Config) check(ctx context.Context, conn *Conn, t Tables) (done bool, err error) {
	err = conn.QueryRow(ctx, "select to_regclass($1) is not null", c.Schema+".meta").Scan(&done)
	if err != nil || !done {
		return false, err
	}
	version, err := c.version(ctx, conn, t)
	return version >= len(t.Steps), err
}

// version is that of the tables; 0 when there are none. It is an error if this program cannot use them.
func (c *Config) version(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, t Tables) (version int, err error) {
	var minReader int
	err = q.QueryRow(ctx, c.SQL("select version, min_reader from @.meta where component = $1"), t.Component).
		Scan(&version, &minReader)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case err == nil && minReader > len(t.Steps):
		err = fmt.Errorf("%w: the tables of %s in the schema %s are of version %d and need a program"+
			" that knows version %d; this one knows %d: install a newer mailwhy", ErrTooOld, t.Component,
			c.Schema, version, minReader, len(t.Steps))
	}
	return version, err
}
