package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The lives of the connections of a pool.
const (
	poolIdle  = 5 * time.Minute
	poolRenew = time.Hour
	poolDoubt = 30 * time.Second // after it was idle for so long, it is asked whether it still works
)

// Pool opens up to n connections for short statements of any number of goroutines, to the server that takes
// writes. The statements are not prepared, so that a pooler in transaction mode may stand between without
// being named in the URL. What a statement returned may be used when it has ended without an error.
func (c *Config) Pool(ctx context.Context, n int) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(c.pgx.ConnString())
	if err != nil {
		return nil, err
	}
	pc.ConnConfig = c.pgx.Copy()
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if pc.ConnConfig.ValidateConnect == nil { // target_session_attrs is not given, or any
		pc.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pc.MaxConns = int32(n)
	pc.MaxConnIdleTime, pc.MaxConnLifetime = poolIdle, poolRenew
	pc.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > poolDoubt
	}
	return pgxpool.NewWithConfig(ctx, pc)
}

// MigratePool is Migrate on a connection of a pool.
func (c *Config) MigratePool(ctx context.Context, pool *pgxpool.Pool, t Tables) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		return c.Migrate(ctx, &Conn{Conn: conn.Conn()}, t)
	})
}
