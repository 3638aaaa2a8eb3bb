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

// The bounds of what List reads at a time.
const (
	pageReports = 200
	pageBytes   = 1 << 20 // or one report
)

// List calls each for every report that waits or is kept and that the filter selects, until it returns false.
// It reads them in pages, and holds no connection while each is called: whoever is slow keeps nobody waiting.
func (r *Reader) List(ctx context.Context, f Filter, each func(Report) bool) error {
	for left := f.Limit; ; {
		page, more, err := r.page(ctx, f, left)
		if err != nil {
			return err
		}
		for i := range page {
			if !each(page[i]) {
				return nil
			}
		}
		if left -= len(page); !more || f.Limit > 0 && left <= 0 {
			return nil
		}
		f.After = page[len(page)-1].ID
	}
}

// page reads the first reports that the filter selects, up to most unless that is 0; more reports that there
// may be others.
func (r *Reader) page(ctx context.Context, f Filter, most int) (page []Report, more bool, err error) {
	if most == 0 || most > pageReports {
		most = pageReports
	}
	err = r.read(ctx, func(c *sqlite.Conn) error {
		page = nil
		size := 0
		return c.QueryContext(ctx, func(row []driver.Value) error {
			body, _ := row[bodyColumn].([]byte)
			if size += len(body); len(page) > 0 && size > pageBytes {
				more = true
				return sqlite.ErrStop
			}
			page = append(page, scanReport(row))
			return nil
		}, "SELECT "+reportColumns+" FROM report WHERE seq>?1 AND (?2='' OR state=?2)"+
			" AND (?3='' OR source=?3) AND came>=?4 ORDER BY seq LIMIT ?5",
			f.After, string(f.State), f.Source, nanos(f.Since), int64(most))
	})
	return page, more || len(page) == most, err
}

// Backlog is what came back and has not had its effect.
type Backlog struct {
	Due    int64     // reports that are to be looked at now
	Oldest time.Time // since when the first of them is
	Later  int64     // that were looked at in vain, and are again later: no message was found, mostly
}

// Backlog counts what waits. It reads an index and no report, but for the first.
func (r *Reader) Backlog(ctx context.Context, now time.Time) (b Backlog, err error) {
	err = r.read(ctx, func(c *sqlite.Conn) error {
		b = Backlog{}
		return c.QueryContext(ctx, func(row []driver.Value) error {
			due, _ := row[0].(int64)
			later, _ := row[1].(int64)
			came, _ := row[2].(int64)
			first, _ := row[3].(int64)
			b = Backlog{Due: due, Later: later, Oldest: timeOf(came)}
			if first != 0 && (came == 0 || first < came) {
				b.Oldest = timeOf(first)
			}
			return nil
		}, "SELECT (SELECT count(*) FROM report WHERE due<=?1), (SELECT count(*) FROM report WHERE due>?1),"+
			" (SELECT came FROM report WHERE due=0 ORDER BY seq LIMIT 1),"+ // new ones: came in their order
			" (SELECT min(due) FROM report WHERE due>0 AND due<=?1)", nanos(now))
	})
	return b, err
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
