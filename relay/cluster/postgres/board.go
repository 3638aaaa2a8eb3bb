package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
)

// The limits of an entry.
const (
	bodyMost = 64 << 10
	nameMost = 512
)

// entryColumns are those of a row of the board, in the order of scanEntry.
const entryColumns = `b.name, b.version, b.body, b.writer,
	(extract(epoch FROM clock_timestamp() - b.at) * 1e6)::bigint,
	(extract(epoch FROM b.until - clock_timestamp()) * 1e6)::bigint`

// inForce is the condition under which a row of the board is in force.
const inForce = `b.body <> '' AND (b.until IS NULL OR b.until > clock_timestamp())`

// scanEntry reads a row of entryColumns, and what stands before them.
func scanEntry(r pgx.CollectableRow, before ...any) (e relay.BoardEntry, found bool, err error) {
	var name, writer *string
	var version, age, left *int64
	err = r.Scan(append(before, &name, &version, &e.Body, &writer, &age, &left)...)
	if err != nil || name == nil {
		return e, false, err
	}
	e.Name, e.Version, e.By = *name, *version, *writer
	e.Age = max(time.Duration(*age)*time.Microsecond, 0)
	if left != nil {
		e.Left = max(time.Duration(*left)*time.Microsecond, 1) // 0 would be never
	}
	return e, true, nil
}

// Read implements relay.Board.
func (c *Cluster) Read(ctx context.Context, name string) (e relay.BoardEntry, err error) {
	if err := c.in(); err != nil {
		return e, err
	}
	e.Name = name
	err = c.db.rows(ctx, `SELECT `+entryColumns+` FROM @.board b WHERE b.name = $1 AND `+inForce,
		[]any{name}, func(r pgx.CollectableRow) (err error) {
			e, _, err = scanEntry(r)
			return err
		})
	return e, err
}

// Write implements relay.Board. The counter is raised only where the entry can be expected to be written: who
// comes too late writes nothing.
func (c *Cluster) Write(ctx context.Context, name string, old int64, body []byte, lasts time.Duration) (
	e relay.BoardEntry, ok bool, err error) {
	if err := c.alive(ctx); err != nil {
		return e, false, err
	}
	if len(name) > nameMost || len(body) > bodyMost {
		return e, false, fmt.Errorf("an entry of %d bytes with a name of %d is too long for the board",
			len(body), len(name))
	}
	if body == nil {
		body = []byte{}
	}
	err = c.db.rows(ctx, `
		WITH c AS (UPDATE @.counter SET n = n + 1 WHERE what = 'board' AND ($2::bigint = -1 OR $2 = coalesce(
			(SELECT b.version FROM @.board b WHERE b.name = $1 AND `+inForce+`), 0)) RETURNING n)
		INSERT INTO @.board AS b (name, version, body, writer, at, until)
		SELECT $1, c.n, $3, $4, t, CASE WHEN $5::bigint > 0 THEN t + $5 * interval '1 microsecond' END
		FROM c, clock_timestamp() t WHERE t < $6::timestamptz
		ON CONFLICT (name) DO UPDATE SET version = excluded.version, body = excluded.body,
			writer = excluded.writer, at = excluded.at, until = excluded.until
		WHERE clock_timestamp() < $6 AND ($2 = -1 OR $2 = CASE WHEN `+inForce+` THEN b.version ELSE 0 END)
		RETURNING set_config('synchronous_commit', 'local', true), `+entryColumns,
		[]any{name, old, body, c.id, micros(lasts), c.expiry()}, func(r pgx.CollectableRow) (err error) {
			e, ok, err = scanEntry(r, new(string))
			return err
		})
	switch {
	case err != nil:
		return relay.BoardEntry{}, false, err
	case ok:
		c.wakeWatches()
		return e, true, nil
	}
	e, err = c.Read(ctx, name)
	return e, false, err
}
