package postgres

import (
	"context"

	"mailwhy/relay"
)

// List implements relay.Lister; see Reader.List.
func (s *Spool) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	return s.reader().List(ctx, f, each)
}

// Stat implements relay.Lister. Large numbers are estimates.
func (s *Spool) Stat(ctx context.Context) (relay.SpoolStat, error) {
	st, err := s.reader().Stat(ctx)
	if err == nil {
		st.Leased = max(0, st.Leased-s.memory.ready())
	}
	return st, err
}

// reader reads by the connections of the spool.
func (s *Spool) reader() *Reader { return &Reader{db: s.db, pool: s.pool} }
