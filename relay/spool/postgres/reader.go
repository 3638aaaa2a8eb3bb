package postgres

import (
	"context"
	"fmt"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// Reader looks into a spool, whether relays run on it or not. It is safe for concurrent use.
type Reader struct {
	db   *database.DB
	pool *pool
}

var _ relay.Lister = (*Reader)(nil)

// OpenReader opens a spool for reading. It makes no tables, and takes no part in what the relays do.
func OpenReader(ctx context.Context, o Options) (*Reader, error) {
	config, err := postgres.Parse(o.URL, o.Name)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	db := &database.DB{Config: config}
	r := &Reader{db: db, pool: newPool(db, 1)}
	err = r.pool.read(ctx, func(c *postgres.Conn) error { return db.Config.Check(ctx, c, database.Tables()) })
	if err != nil {
		r.pool.close()
		return nil, fmt.Errorf("spool on PostgreSQL: %w", err)
	}
	return r, nil
}

// Close closes the connection.
func (r *Reader) Close() error {
	r.pool.close()
	return nil
}

// List implements relay.Lister. Messages that come or go while it runs may or may not be among those
// listed; one that is damaged is passed over.
func (r *Reader) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	found, after := 0, f.After
	for {
		var rows []*database.Row
		err := r.pool.read(ctx, func(c *postgres.Conn) (err error) {
			rows, err = r.db.Page(ctx, c, f, after)
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].ID
		for _, row := range rows {
			m, err := row.Decode()
			if err != nil || !spool.Selects(f, m) {
				continue
			}
			if found++; !each(m) || found == f.Limit {
				return nil
			}
		}
		if len(rows) < database.PageRows {
			return nil
		}
	}
}

// Stat implements relay.Lister. Large numbers are estimates, and what the relays keep in their memory
// counts as leased.
func (r *Reader) Stat(ctx context.Context) (st relay.SpoolStat, err error) {
	err = r.pool.read(ctx, func(c *postgres.Conn) (err error) {
		st, err = r.db.Stat(ctx, c)
		return err
	})
	return st, err
}

// CheckDurability looks at the server of a spool, before there is one or while relays run on it.
func CheckDurability(ctx context.Context, o Options) (Durability, error) {
	config, err := postgres.Parse(o.URL, o.Name)
	if err != nil {
		return Durability{}, err
	}
	c, err := config.Connect(ctx)
	if err != nil {
		return Durability{}, err
	}
	defer c.Drop()
	if err := config.RefuseOthers(ctx, c); err != nil {
		return Durability{}, err
	}
	is, err := c.Durability(ctx)
	return durabilityOf(is, time.Now()), err
}
