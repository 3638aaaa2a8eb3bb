package postgres

import (
	"context"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
)

// List implements relay.Lister. Messages that come or go while it runs may or may not be among those
// listed; one that is damaged is passed over.
func (s *Spool) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	found, after := 0, f.After
	for {
		var rows []*database.Row
		err := s.pool.read(ctx, func(c *postgres.Conn) (err error) {
			rows, err = s.db.Page(ctx, c, f, after)
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		after = rows[len(rows)-1].ID
		for _, r := range rows {
			m, err := r.Decode()
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

// Stat implements relay.Lister. Large numbers are estimates.
func (s *Spool) Stat(ctx context.Context) (st relay.SpoolStat, err error) {
	err = s.pool.read(ctx, func(c *postgres.Conn) (err error) {
		st, err = s.db.Stat(ctx, c)
		return err
	})
	if err == nil {
		st.Leased = max(0, st.Leased-s.memory.ready())
	}
	return st, err
}
