package database

import (
	"context"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
)

// selected are the conditions of a page that the tables know: after an id, in a lane, waiting, older than.
const selected = ` id > $1 and ($2 = '' or lane = $2) and (not $3 or due < 9223372036854775807)
	and arrived < $4`

// listAll reads a page of all messages. Each page is of one moment: a message that changes its table
// meanwhile is in it.
const listAll = `
(select ` + columns + ` from @.msg where` + selected + ` order by id limit $5)
union all
(select ` + freshColumns + ` from @.fresh where` + selected + ` order by id limit $5)
order by id limit $5`

// listIDs reads a page of the messages of these ids, or of the mails of these.
const listIDs = `
(select ` + columns + ` from @.msg where` + selected + ` and (id = any($6) or id in (select m.id
	from unnest($6::text[]) k join @.msg m on m.content >= k and m.content < k || '.')) order by id limit $5)
union all
(select ` + freshColumns + ` from @.fresh where` + selected + ` and id = any($6) order by id limit $5)
order by id limit $5`

// PageRows is how many messages are read at a time.
const PageRows = 256

// Page reads the next messages in the order of ids that f may select, after an id.
func (d *DB) Page(ctx context.Context, c *postgres.Conn, f relay.QueueFilter, after string) ([]*Row, error) {
	older := int64(spool.Never)
	if !f.OlderThan.IsZero() {
		older = spool.Nanos(f.OlderThan)
	}
	sql, args := listAll, []any{after, f.Lane, f.Waiting, older, PageRows}
	if len(f.IDs) > 0 {
		sql, args = listIDs, append(args, f.IDs)
	}
	rows, err := c.Query(ctx, d.SQL(sql), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Row, error) { return scanRow(rows) })
}

// Exact is up to how many messages are counted one by one.
const Exact = 10000

// counts counts up to Exact rows of each kind. A row that is counted no more is estimated from there on.
const counts = `select
	(select count(*) from (select 1 from @.msg limit $1) l),
	(select count(*) from (select 1 from @.fresh limit $1) l),
	(select coalesce(sum(size), 0)::bigint from (select distinct content, size from (
		select content, size from @.msg limit $1) l) c),
	(select coalesce(sum(size), 0)::bigint from (select size from @.fresh limit $1) l),
	(select count(*) from (select 1 from @.outbox limit $1) l),
	(select count(*) from (select 1 from @.msg where owner is not null limit $1) l),
	(select coalesce(min(arrived), 9223372036854775807) from (
		(select arrived from @.msg order by id limit 1) union all
		(select arrived from @.fresh order by id limit 1)) l),
	(select coalesce(max(reltuples), 0)::bigint from pg_class where oid = '@.msg'::regclass),
	(select coalesce(max(reltuples), 0)::bigint from pg_class where oid = '@.outbox'::regclass)`

// Stat counts what the tables hold: exactly as long as that is little. Mail that is leased from its first
// moment on counts as leased.
func (d *DB) Stat(ctx context.Context, c *postgres.Conn) (st relay.SpoolStat, err error) {
	var msg, fresh, msgBytes, freshBytes, oldest, estimate, owed int64
	err = c.QueryRow(ctx, d.SQL(counts), Exact).Scan(&msg, &fresh, &msgBytes, &freshBytes, &st.Owed,
		&st.Leased,
		&oldest, &estimate, &owed)
	if err != nil {
		return st, err
	}
	if msg == Exact && estimate > msg {
		msgBytes = int64(float64(msgBytes) / float64(msg) * float64(estimate))
		msg = estimate
	}
	if st.Owed == Exact {
		st.Owed = max(st.Owed, owed)
	}
	st.Messages, st.Bytes, st.Leased = msg+fresh, msgBytes+freshBytes, st.Leased+fresh
	if oldest != spool.Never {
		st.Oldest = spool.TimeOf(oldest)
	}
	return st, nil
}
