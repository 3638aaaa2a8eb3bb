package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"mailwhy/relay/internal/pgschema"
)

// The limits of a connection.
const (
	connectTimeout = 5 * time.Second
	idleFor        = 5 * time.Minute
	renewAfter     = time.Hour
	doubtful       = 30 * time.Second // after it was idle for so long, it is asked whether it still works
)

// engine runs statements. It is safe for concurrent use.
type engine struct {
	pool    *pgxpool.Pool
	schema  string
	timeout time.Duration // of a call
}

// openEngine makes the connections, and the tables if they are missing.
func openEngine(ctx context.Context, url, schema string, connections int, timeout time.Duration) (
	*engine, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("not the address of a PostgreSQL server: %w", err)
	}
	c.MaxConns, c.MaxConnIdleTime, c.MaxConnLifetime = int32(connections), idleFor, renewAfter
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // poolers know no prepared statements
	c.ConnConfig.ConnectTimeout = connectTimeout              // for each of several hosts
	c.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > doubtful
	}
	if c.ConnConfig.ValidateConnect == nil { // target_session_attrs is not given, or any
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	e := &engine{pool: pool, schema: schema, timeout: timeout}
	if err := e.prepare(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return e, nil
}

// prepare refuses servers that are not PostgreSQL, and makes the tables.
func (e *engine) prepare(ctx context.Context) error {
	return e.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		if err := pgschema.Supported(ctx, c.Conn()); err != nil {
			return err
		}
		return pgschema.Migrate(ctx, c.Conn(), e.schema, schema())
	})
}

// rows runs a statement, and calls each for every row once the statement has ended without an error: what a
// statement returns before its commit fails has not happened.
func (e *engine) rows(ctx context.Context, statement string, args []any,
	each func(pgx.CollectableRow) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	defer cancel()
	rows, err := e.pool.Query(ctx, pgschema.Fill(statement, e.schema), args...)
	if err != nil {
		return because(ctx, err)
	}
	_, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (none struct{}, err error) {
		return none, each(r)
	})
	return because(ctx, err)
}

// row runs a statement that returns one row at most, and reports whether there was one.
func (e *engine) row(ctx context.Context, statement string, args []any, into ...any) (found bool, err error) {
	err = e.rows(ctx, statement, args, func(r pgx.CollectableRow) error {
		found = true
		return r.Scan(into...)
	})
	return found && err == nil, err
}

// exec runs a statement that returns nothing, and says how many rows it changed.
func (e *engine) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	defer cancel()
	tag, err := e.pool.Exec(ctx, pgschema.Fill(statement, e.schema), args...)
	return tag.RowsAffected(), because(ctx, err)
}

// errSlow is why a call was given up.
var errSlow = errors.New("the database did not answer in time")

// because is err, with the reason why its context ended.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// micros is a duration as statements take it.
func micros(d time.Duration) int64 { return d.Microseconds() }
