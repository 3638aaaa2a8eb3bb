package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
	"mailwhy/relay/spool/journal"
)

// ReadOnly is a spool that is looked into while no relay runs on it. It is safe for concurrent use, and
// keeps a relay from starting on the directory until it is closed.
type ReadOnly struct {
	dir      files.Dir
	lock     *os.File
	pool     *database.Pool
	came     []*spool.Record // by the journal, in the order of their ids
	gone     map[string]bool // by the journal
	answered int64           // entries of the outbox that the journal answers
}

var (
	_ relay.Lister     = (*ReadOnly)(nil)
	_ relay.LocalSpool = (*ReadOnly)(nil)
)

// OpenReadOnly opens the spool in dir for reading. It fails with ErrInUse while a relay has it open.
func OpenReadOnly(dir string) (*ReadOnly, error) {
	r := &ReadOnly{dir: files.Dir{Path: dir}}
	var err error
	if r.lock, err = r.dir.Take(false); err != nil {
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	name, how := r.dir.File(files.Database), database.ReadBeside
	if fi, err := os.Stat(name + "-wal"); err != nil || fi.Size() == 0 {
		how = database.ReadAlone
	}
	r.pool = database.NewPool(name, how)
	if err := r.read(r.readJournal); err != nil {
		return nil, errors.Join(fmt.Errorf("spool %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// readJournal reads what a relay that was killed has in its journal only.
func (r *ReadOnly) readJournal(c *database.Conn) error {
	format, err := c.Version()
	if err != nil {
		return err
	}
	if format > files.Format {
		return files.NewerFormat(format)
	}
	j, err := journal.Read(r.dir.Path)
	if err != nil {
		return err
	}
	n, err := database.ReadCounts(c)
	if err != nil {
		return err
	}
	if why, err := j.Foreign(knowledgeOf(c, n)); why != "" || err != nil {
		return err // a relay that starts sets it aside
	}
	changes := j.Changes(n.Commits, 0)
	r.came, r.gone = changes.Added, map[string]bool{}
	slices.SortFunc(r.came, func(a, b *spool.Record) int { return cmp.Compare(a.ID, b.ID) })
	for _, id := range changes.Removed {
		r.gone[id] = true
	}
	return r.readAnswered(c, changes.Answered)
}

// readAnswered notes which messages wait for nothing once entries are answered.
func (r *ReadOnly) readAnswered(c *database.Conn, answered []relay.Entry) error {
	byMessage := map[string][]relay.Entry{}
	for _, e := range answered {
		byMessage[e.Message] = append(byMessage[e.Message], e)
	}
	for id, answered := range byMessage {
		m, err := c.Record(id)
		if errors.Is(err, relay.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		entries, err := c.AllEntries(m)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(entries), func(e relay.Entry) bool {
			return slices.ContainsFunc(answered,
				func(a relay.Entry) bool { return a.Topic == e.Topic && a.Key == e.Key })
		})
		r.answered += int64(len(entries) - len(left))
		if len(left) == 0 && m.Open == 0 {
			r.gone[id] = true
		}
	}
	return nil
}

// Close ends the reading.
func (r *ReadOnly) Close() error { return errors.Join(r.pool.Close(), r.lock.Close()) }

// read lets f use a connection.
func (r *ReadOnly) read(f func(*database.Conn) error) error {
	c, err := r.pool.Get()
	if err != nil {
		return err
	}
	err = f(c)
	r.pool.Put(c, err)
	return err
}

// List implements relay.Lister.
func (r *ReadOnly) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	return list(ctx, r.read, r.withJournal(database.Pages(f), f), f, each)
}

// withJournal adds what the journal knows to pages of the database that f asks for.
func (r *ReadOnly) withJournal(pages database.Page, f relay.QueueFilter) database.Page {
	came := slices.DeleteFunc(slices.Clone(r.came), func(x *spool.Record) bool {
		return x.ID <= f.After || len(f.IDs) > 0 && !slices.Contains(f.IDs, x.ID)
	})
	return func(c *database.Conn) ([]*spool.Record, error) {
		for {
			page, err := pages(c)
			if err != nil {
				return nil, err
			}
			n := len(came)
			if len(page) > 0 {
				last := page[len(page)-1].ID
				n, _ = slices.BinarySearchFunc(came, last,
					func(x *spool.Record, id string) int { return cmp.Compare(x.ID, id) })
			}
			whole := append(slices.DeleteFunc(slices.Clone(page),
				func(x *spool.Record) bool { return r.gone[x.ID] }), came[:n]...)
			came = came[n:]
			slices.SortFunc(whole, func(a, b *spool.Record) int { return cmp.Compare(a.ID, b.ID) })
			if len(whole) > 0 || len(page) == 0 {
				return whole, nil
			}
		}
	}
}

// Stat implements relay.Lister.
func (r *ReadOnly) Stat(context.Context) (st relay.SpoolStat, err error) {
	err = r.read(func(c *database.Conn) error {
		n, err := database.ReadCounts(c)
		if err != nil {
			return err
		}
		st = relay.SpoolStat{Messages: n.Messages, Bytes: n.Bytes, Owed: n.Owed - r.answered}
		if st.Oldest, err = database.Oldest(c); err != nil {
			return err
		}
		return r.countJournal(c, &st)
	})
	return st, err
}

// Local implements relay.LocalSpool.
func (r *ReadOnly) Local() (st relay.LocalStat, err error) {
	err = r.read(func(c *database.Conn) (err error) {
		st.Quarantined, err = database.Quarantined(c)
		return err
	})
	if err != nil {
		return st, err
	}
	st.FreeBytes, err = files.FreeBytes(r.dir.Path)
	return st, err
}

// countJournal adds what the journal knows to st.
func (r *ReadOnly) countJournal(c *database.Conn, st *relay.SpoolStat) error {
	for id := range r.gone {
		x, err := c.Record(id)
		if errors.Is(err, relay.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		st.Messages--
		st.Bytes -= x.Size
	}
	for _, x := range r.came {
		st.Messages++
		st.Bytes += x.Size
	}
	if len(r.gone) == 0 && len(r.came) == 0 {
		return nil
	}
	// The oldest may have gone, or be in the journal.
	st.Oldest = time.Time{}
	page, err := r.withJournal(database.AllPages(""), relay.QueueFilter{})(c)
	if len(page) > 0 {
		st.Oldest = spool.TimeOf(page[0].Arrived)
	}
	return err
}
