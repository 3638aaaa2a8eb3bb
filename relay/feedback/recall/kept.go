package recall

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"mailwhy/relay/internal/sqlite"
)

// Filter selects reports. Zero fields select all.
type Filter struct {
	State  State
	Source string
	Since  time.Time // came then or later
	After  int64     // id to continue after: pages are in the order of ids
	Limit  int       // 0 is no limit
}

// ErrNotFound is returned for a report that is not there: it had its effect, or was kept long enough.
var ErrNotFound = errors.New("no such report: it had its effect, or was kept long enough")

// List calls each for every report that waits or is kept and that the filter selects, until it returns false.
func (r *Reader) List(ctx context.Context, f Filter, each func(Report) bool) error {
	limit := int64(f.Limit)
	if limit == 0 {
		limit = -1
	}
	return r.read(func(c *sqlite.Conn) error {
		return c.QueryContext(ctx, func(row []driver.Value) error {
			if !each(scanReport(row)) {
				return sqlite.ErrStop
			}
			return nil
		}, "SELECT "+reportColumns+" FROM report WHERE seq>?1 AND (?2='' OR state=?2)"+
			" AND (?3='' OR source=?3) AND came>=?4 ORDER BY seq LIMIT ?5",
			f.After, string(f.State), f.Source, nanos(f.Since), limit)
	})
}

// Show returns one report.
func (r *Reader) Show(ctx context.Context, id int64) (report Report, err error) {
	err = r.List(ctx, Filter{After: id - 1, Limit: 1}, func(found Report) bool {
		report = found
		return false
	})
	if err == nil && report.ID != id {
		err = ErrNotFound
	}
	return report, err
}

// Replay lets reports that are kept, and those that wait for a later try, be looked at now, and returns how
// many. What has had its effect has none again, so nothing is told twice.
func (s *Store) Replay(ctx context.Context, f Filter) (int64, error) {
	now := nanos(s.o.Now())
	limit := int64(f.Limit)
	if limit == 0 {
		limit = -1
	}
	var n int64
	err := s.w.write(ctx, func(t *tx) error {
		n = 0
		err := t.Query(func(row []driver.Value) error {
			n++
			return nil
		}, "UPDATE report SET state='waiting', due=?6, tries=0, why='' WHERE seq IN"+
			" (SELECT seq FROM report WHERE seq>?1 AND (?2='' OR state=?2) AND (?3='' OR source=?3)"+
			" AND came>=?4 ORDER BY seq LIMIT ?5) RETURNING seq",
			f.After, string(f.State), f.Source, nanos(f.Since), limit, now)
		if err == nil {
			t.n.waiting, _, err = t.Integer("SELECT count(*) FROM report WHERE state='waiting'")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if n > 0 {
		s.o.Waiting()
	}
	return n, nil
}
