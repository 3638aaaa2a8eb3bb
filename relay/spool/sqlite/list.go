package sqlite

import (
	"context"
	"sync/atomic"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// List implements relay.Lister. Messages that come or go while it runs may or may not be among those
// listed; one that cannot be read is passed over here, and quarantined when it is leased.
func (s *Spool) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	return list(ctx, s.read, database.Pages(f), f, each)
}

// list is List over pages, reading by read.
func list(ctx context.Context, read func(func(*database.Conn) error) error, pages database.Page,
	f relay.QueueFilter, each func(*relay.Message) bool) error {
	found := 0
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var records []*spool.Record
		err := read(func(c *database.Conn) (err error) {
			records, err = pages(c)
			return err
		})
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			m, err := r.Decode()
			if err != nil || !spool.Selects(f, m) {
				continue
			}
			if found++; !each(m) || found == f.Limit {
				return nil
			}
		}
	}
}

// stat counts what is committed. It is safe for concurrent use.
type stat struct{ messages, bytes, owed, quarantined atomic.Int64 }

func (st *stat) set(n database.Counts) {
	st.messages.Store(n.Messages)
	st.bytes.Store(n.Bytes)
	st.owed.Store(n.Owed)
}

// Stat implements relay.Lister.
func (s *Spool) Stat(context.Context) (st relay.SpoolStat, err error) {
	err = s.read(func(c *database.Conn) (err error) { // first: it has all counted
		st.Oldest, err = database.Oldest(c)
		return err
	})
	st.Messages, st.Bytes, st.Owed = s.stat.messages.Load(), s.stat.bytes.Load(), s.stat.owed.Load()
	st.Leased = s.queue.Leased()
	return st, err
}

// Local implements relay.LocalSpool.
func (s *Spool) Local() (st relay.LocalStat, err error) {
	st.Quarantined = s.stat.quarantined.Load()
	st.FreeBytes, err = files.FreeBytes(s.o.Dir)
	return st, err
}
