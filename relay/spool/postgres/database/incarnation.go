package database

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mailwhy/relay/internal/postgres"
)

const (
	register  = `insert into @.fence (inc, host, version) values ($1, $2, $3)`
	firstBeat = `insert into @.beat (inc, "until") values ($1, now() + $2::bigint * interval '1 microsecond')`
	nextBeat  = `update @.beat set "until" = now() + $2::bigint * interval '1 microsecond'
	where inc = $1 and exists (select 1 from @.fence where inc = $1 and not dead) returning 1`
	lapsed = `select inc from @.beat where "until" < now() and inc <> $1 order by inc`
)

// Register makes an incarnation, whose heartbeat is good for a time.
func (d *DB) Register(ctx context.Context, c *postgres.Conn, me int64, host, version string,
	good time.Duration) error {
	s := &statements{sql: d.SQL, me: me}
	s.add(register, host, version)
	s.add(firstBeat, good.Microseconds())
	return c.Transact(ctx, &s.Batch)
}

// Beat prolongs the heartbeat, and returns the others whose heartbeats have lapsed. alive is false when
// this one was taken over.
func (d *DB) Beat(ctx context.Context, c *postgres.Conn, me int64, good time.Duration) (alive bool,
	dead []int64, err error) {
	s := d.unsynced(me)
	s.add(nextBeat, good.Microseconds()).Exec(func(tag pgconn.CommandTag) error {
		alive = tag.RowsAffected() > 0
		return nil
	})
	s.add(lapsed).Query(func(rows pgx.Rows) (err error) {
		dead, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return alive, dead, c.Transact(ctx, &s.Batch)
}

// The first statements of a takeover. Whoever holds the lock settles, or takes over.
const (
	takeSync = `select set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true)
	where $1::bigint is not null`
	takeLock = `select pg_advisory_xact_lock($1)`
	fence    = `update @.fence set dead = true where inc = $1
	and not exists (select 1 from @.beat where inc = $1 and "until" >= now())`
)

// Fence has an incarnation whose heartbeat has lapsed lose its leases. It reports false if it lives.
func (d *DB) Fence(ctx context.Context, c *postgres.Conn, inc int64) (fenced bool, err error) {
	s := &statements{sql: d.SQL, me: inc}
	s.add(takeSync)
	s.add(takeLock)
	s.add(fence)
	s.add(`select exists (select 1 from @.fence where inc = $1 and dead)
		or not exists (select 1 from @.fence where inc = $1)`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&fenced)
	})
	return fenced, c.Transact(ctx, &s.Batch)
}

// crashDelay is for how many seconds a message is put off that was leased when its owner ended, the n-th
// time in a row: it may be what ended it. The delays of several are spread.
const crashDelay = `case when %[1]s = 0 then 1 else (0.5 + random() / 2) * power(4, least(%[1]s, 5)) end`

// putOff is a due time that a crash has moved; $3 is now.
func putOff(crashes string) string {
	return fmt.Sprintf(`case when $2 and due < 9223372036854775807
		then greatest(due, $3 + (`+crashDelay+` * 1e9)::bigint) else due end`, crashes)
}

var (
	// freeFreshOf gives the mail back that an incarnation had from the first moment on.
	freeFreshOf = `
with o as (select id from @.fresh where owner = $1 order by id limit $4 for update),
f as (delete from @.fresh using o where fresh.id = o.id and owner = $1 returning fresh.*),
c as (insert into @.content (id, part, sum, body) select id, 0, sum, body from f order by id
	on conflict do nothing)
insert into @.msg ` + moved + `
select id, id, lane, null, ` + putOff("0") + `, $2::bool::int, false, false, arrived, size, sum, open, head,
	head_sum, recipients, state_sum from f order by id`

	// freeMsgOf gives back what an incarnation had leased.
	freeMsgOf = `
with o as (select id from @.msg where owner = $1 order by id limit $4 for update)
update @.msg m set owner = null, batch = null, turn = null, crashes = crashes + $2::bool::int,
	due = ` + putOff("crashes") + ` from o where m.id = o.id and m.owner = $1`
)

// freeAtOnce is how many messages of each table are given back in one transaction.
const freeAtOnce = 2000

// Free gives back everything that an incarnation has. crashed says that it did not end in order; now is the
// wall clock's.
func (d *DB) Free(ctx context.Context, c *postgres.Conn, inc int64, crashed bool, now int64) (total int64,
	err error) {
	for {
		var n int64
		s := &statements{sql: d.SQL, me: inc}
		s.add(takeSync)
		for _, sql := range []string{freeFreshOf, freeMsgOf} {
			s.add(sql, crashed, now, freeAtOnce).Exec(func(tag pgconn.CommandTag) error {
				n += tag.RowsAffected()
				return nil
			})
		}
		if err := c.Transact(ctx, &s.Batch); err != nil {
			return total, err
		}
		if total += n; n == 0 {
			return total, nil
		}
	}
}

// forget are the last statements about an incarnation, when everything was given back.
var forget = []string{
	`delete from @.content where id in (select content from @.staged where owner = $1)
		and not exists (select 1 from @.msg m where m.content = content.id)`,
	`delete from @.staged where owner = $1`,
	`delete from @.claim where owner = $1`,
	`delete from @.beat where inc = $1`,
	`delete from @.fence where inc = $1`,
}

// Forget removes what is left of an incarnation that has nothing any more.
func (d *DB) Forget(ctx context.Context, c *postgres.Conn, inc int64) error {
	s := &statements{sql: d.SQL, me: inc}
	s.add(takeSync)
	s.add(takeLock)
	for _, sql := range forget {
		s.add(sql)
	}
	return c.Transact(ctx, &s.Batch)
}

// tidy removes what has had its time, a little at a time.
var tidy = []string{
	`delete from @.gone where $1::bigint is not null and id in (
		select id from @.gone where "until" < now() order by "until" limit 10000 for update skip locked)`,
	`delete from @.claim where $1::bigint is not null and (message, topic) in (
		select message, topic from @.claim where "until" < now() - interval '1 hour' limit 10000
		for update skip locked)`,
}

// Tidy removes what is kept for a while and has had its time.
func (d *DB) Tidy(ctx context.Context, c *postgres.Conn, me int64) error {
	s := d.unsynced(me)
	for _, sql := range tidy {
		s.add(sql)
	}
	return c.Transact(ctx, &s.Batch)
}
