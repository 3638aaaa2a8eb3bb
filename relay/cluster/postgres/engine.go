package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"mailwhy/relay/internal/postgres"
)

// engine runs statements. It is safe for concurrent use.
type engine struct {
	config  *postgres.Config
	pool    *pgxpool.Pool
	timeout time.Duration // of a call
	calls   chan struct{} // as many as connections are in use
}

// dying is how many connections there may be for each that is in use: one that was given up is closed only
// some 15 s later, and must not keep others waiting for so long.
const dying = 4

// openEngine opens the database, and makes the tables if they are missing.
func openEngine(ctx context.Context, o *Options) (*engine, error) {
	c, err := postgres.Parse(o.URL, o.Name)
	if err != nil {
		return nil, fmt.Errorf("the database of the cluster: %w", err)
	}
	pool, err := c.Pool(ctx, dying*o.Connections)
	if err != nil {
		return nil, err
	}
	if err := c.MigratePool(ctx, pool, tables()); err != nil {
		pool.Close()
		return nil, err
	}
	return &engine{config: c, pool: pool, timeout: o.Timeout, calls: make(chan struct{}, o.Connections)}, nil
}

// begin begins a call, which ends when end is called, or its time is over.
func (e *engine) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.timeout, errSlow)
	select {
	case e.calls <- struct{}{}:
		return ctx, func() { <-e.calls; cancel() }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, context.Cause(ctx)
	}
}

// rows runs a statement, and calls each for every row once the statement has ended without an error: what a
// statement returns before its commit fails has not happened.
func (e *engine) rows(ctx context.Context, statement string, args []any,
	each func(pgx.CollectableRow) error) error {
	ctx, end, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	rows, err := e.pool.Query(ctx, e.config.SQL(statement), args...)
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
	ctx, end, err := e.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	tag, err := e.pool.Exec(ctx, e.config.SQL(statement), args...)
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
