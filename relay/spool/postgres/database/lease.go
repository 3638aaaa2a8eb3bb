package database

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mailwhy/relay/internal/postgres"
)

// leaseDue leases what is due in a lane: up to so many of those that were put off and are due again, and then
// of the others by their turns. What another transaction is taking is passed over.
const leaseDue = `
with w as (
	select id from @.msg where lane = $3 and owner is null and turn is null and due <= $4
	order by due limit $6 for update skip locked
), t as (
	select id from @.msg where lane = $3 and owner is null and turn is not null and due <= $4
	order by turn limit $5 - (select count(*) from w) for update skip locked
), u as (
	update @.msg m set owner = $1, batch = $2 from (select id from w union all select id from t) c
	where m.id = c.id and m.owner is null returning m.*
)
select ` + columns + `, (select c.body from @.content c where c.id = u.content and c.part = 0
	and u.size <= $7)
from u order by coalesce(turn, 0), due, id`

const nextDue = `select coalesce(min(due), 9223372036854775807) from @.msg
	where $1::bigint is not null and lane = $2 and owner is null and due < 9223372036854775807`

// Lease leases up to max messages of a lane that are due at now, under the number of a batch. next is when
// the first that is left is due; spool.Never for none. After an error none is leased but for ErrInDoubt:
// then the batch must be unleased.
func (d *DB) Lease(ctx context.Context, c *postgres.Conn, me, batch int64, lane string, now int64,
	max int) (rows []*Row, next int64, err error) {
	s := d.synced(me)
	s.add(leaseDue, batch, lane, now, max, (max+1)/2, InlineLimit).Query(func(r pgx.Rows) (err error) {
		rows, err = scanRows(r)
		return err
	})
	s.add(nextDue, lane).QueryRow(func(row pgx.Row) error { return row.Scan(&next) })
	if err := c.Transact(ctx, &s.Batch); err != nil {
		return nil, 0, err
	}
	return rows, next, nil
}

const leaseOne = `update @.msg set owner = $1, batch = $2 where id = $3 and owner is null
	returning ` + columns

const isThere = `select exists (select 1 from @.msg where id = $2
	union all select 1 from @.fresh where id = $2)
	where $1::bigint is not null`

// LeaseID leases a message, due or not. r is nil if it is leased to somebody, or not there.
func (d *DB) LeaseID(ctx context.Context, c *postgres.Conn, me, batch int64, id string) (r *Row, there bool,
	err error) {
	s := d.synced(me)
	s.add(leaseOne, batch, id).Query(func(rows pgx.Rows) (err error) {
		for rows.Next() {
			if r, err = scanRow(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	s.add(isThere, id).QueryRow(func(row pgx.Row) error { return row.Scan(&there) })
	if err := c.Transact(ctx, &s.Batch); err != nil {
		return nil, false, err
	}
	return r, there, nil
}

const dueLanes = `select l from unnest($1::text[]) l where exists (
	select 1 from @.msg m where m.lane = l and m.owner is null and m.due <= $2)`

// DueLanes are those of the lanes in which something is due at now that nobody has leased.
func (d *DB) DueLanes(ctx context.Context, c *postgres.Conn, lanes []string, now int64) ([]string, error) {
	rows, err := c.Query(ctx, d.SQL(dueLanes), lanes, now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// reroute gives the messages of lanes that are not known to another lane, in both tables.
const (
	rerouteMsg = `
with o as (select id from @.msg where lane <> all($2) order by id limit $4 for update)
update @.msg m set lane = $3, turn = null from o where $1::bigint is not null and m.id = o.id`
	rerouteFresh = `
with o as (select id from @.fresh where lane <> all($2) order by id limit $4 for update)
update @.fresh f set lane = $3 from o where $1::bigint is not null and f.id = o.id`
)

// Reroute gives up to limit messages of each table whose lanes are not known to the lane to, and returns how
// many they were. to must be known.
func (d *DB) Reroute(ctx context.Context, c *postgres.Conn, me int64, known []string, to string,
	limit int) (n int64, err error) {
	s := d.synced(me)
	for _, sql := range []string{rerouteMsg, rerouteFresh} {
		s.add(sql, known, to, limit).Exec(func(tag pgconn.CommandTag) error {
			n += tag.RowsAffected()
			return nil
		})
	}
	return n, c.Transact(ctx, &s.Batch)
}
