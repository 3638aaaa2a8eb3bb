package database

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool"
)

const addEntries = `
insert into @.outbox (message, topic, key, due, payload)
select message, topic, key, due, payload
from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[]) t
	(message, topic, key, due, payload)
where $1::bigint is not null order by 1, 2, 3
on conflict (message, topic, key) do update set due = excluded.due, payload = excluded.payload`

const postpone = `
update @.outbox o set due = t.due, payload = t.payload
from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[]) t
	(message, topic, key, due, payload)
where $1::bigint is not null and o.message = t.message and o.topic = t.topic and o.key = t.key`

const checkAnswer = `select @.answer($2, $3, $4, $5, $6) where $1::bigint is not null`

// Entries that were answered go, and the messages that nothing else waits for.
const (
	endEntries = `delete from @.outbox o using unnest($2::text[], $3::text[], $4::text[])
	t (message, topic, key)
	where $1::bigint is not null and o.message = t.message and o.topic = t.topic and o.key = t.key`
	endAnswered = `delete from @.msg m where $1::bigint is not null and id = any($2) and open = 0
	and owner is null and not exists (select 1 from @.outbox o where o.message = m.id)`
)

// checkAnswers refuses the transaction if somebody else has what is answered in it.
func (ch *Changes) checkAnswers(s *statements) {
	for _, a := range ch.Answers {
		s.add(checkAnswer, column(a.Entries, message), column(a.Entries, topic), column(a.Entries, key),
			a.Tokens, append([]string{}, a.IDs...))
	}
}

// queueOutbox adds what changes the outbox. What was answered goes after the answers were stored.
func (ch *Changes) queueOutbox(s *statements) {
	queueEntries(s, addEntries, ch.Owed)
	queueEntries(s, postpone, ch.Postponed)
	var messages, ids []string
	for _, a := range ch.Answers {
		if a.Keep {
			continue
		}
		if len(a.Entries) > 0 {
			s.add(endEntries, column(a.Entries, message), column(a.Entries, topic), column(a.Entries, key))
		}
		messages = append(messages, column(a.Entries, message)...)
		ids = append(ids, a.IDs...)
	}
	if len(messages) > 0 {
		s.add(endAnswered, messages)
	}
	if len(ids) > 0 {
		s.add(remember, ids)
	}
}

// queueEntries adds a statement for entries. Of two with the same key the last one counts.
func queueEntries(s *statements, sql string, all []relay.Entry) {
	type which struct{ message, topic, key string }
	last := map[which]int{}
	for i, e := range all {
		last[which{e.Message, string(e.Topic), e.Key}] = i
	}
	var entries []relay.Entry
	for i, e := range all {
		if last[which{e.Message, string(e.Topic), e.Key}] == i {
			entries = append(entries, e)
		}
	}
	if len(entries) > 0 {
		s.add(sql, column(entries, message), column(entries, topic), column(entries, key),
			column(entries, func(e relay.Entry) int64 { return spool.Nanos(e.Due) }),
			column(entries, func(e relay.Entry) []byte { return e.Payload }))
	}
}

func topic(e relay.Entry) string { return string(e.Topic) }
func key(e relay.Entry) string   { return e.Key }

// claimDue claims messages that have entries due, but not those whose rows are locked: they are being settled
// or answered. A claim costs no sync: when it is lost at a promotion two may have the entries, and only one
// can answer them.
const claimDue = `
with o as (
	select message, due from @.outbox o where topic = $2 and due <= $3 and not exists (
		select 1 from @.claim c where c.message = o.message and c.topic = o.topic and c."until" > now())
	order by due limit $4 * 4
), d as (
	select message, min(due) as due from o group by message order by 2 limit $4
), l as (
	select m.id, d.due, octet_length(m.recipients) as size from @.msg m join d on d.message = m.id
	order by m.id for update of m skip locked
), b as (
	select id, sum(size) over w as total, row_number() over w as n from l window w as (order by due, id)
)
insert into @.claim (message, topic, token, owner, "until")
select id, $2, $5, $1, now() + $6::bigint * interval '1 microsecond' from b where total <= $7 or n = 1
order by id
on conflict (message, topic) do update
	set token = excluded.token, owner = excluded.owner, "until" = excluded."until"
	where claim."until" <= now()`

// What was claimed is read by a statement of its own, which sees what was answered until the rows were
// locked.
const (
	claimed = `select ` + columns + `, (select c.body from @.content c
	where c.id = m.content and c.part = 0 and m.size <= $3) from @.msg m
	where id in (select message from @.claim where token = $2 and owner = $1) order by id`
	claimedEntries = `select message, key, due, payload from @.outbox
	where topic = $2 and message in (select message from @.claim where token = $3 and owner = $1)
	order by message, key`
	nextEntry = `select coalesce(min(due), 9223372036854775807) from @.outbox o
	where $1::bigint is not null and topic = $2 and not exists (select 1 from @.claim c
		where c.message = o.message and c.topic = o.topic and c."until" > now())`
	unclaim  = `delete from @.claim where owner = $1 and token = any($2)`
	giveBack = `delete from @.claim where $1::bigint is not null and (message, token) in (
	select * from unnest($2::text[], $3::bigint[]))`
)

// Claimed are messages with what they owe.
type Claimed struct {
	Rows    []*Row
	Entries map[string][]relay.Entry // by id; all that the message has of the topic, by key
	Next    int64                    // when the first that nobody has claimed is due; spool.Never for none
}

// claimContent is the largest content that is read with a claim.
const claimContent = 32 << 10

// Claim claims what is due of a topic under a token, up to so many bytes of recipients but at least one
// message.
func (d *DB) Claim(ctx context.Context, c *postgres.Conn, me, token int64, q relay.ClaimQuery,
	budget int) (*Claimed, error) {
	found := &Claimed{Entries: map[string][]relay.Entry{}}
	s := d.unsynced(me)
	s.add(claimDue, string(q.Topic), spool.Nanos(q.Now), min(q.Max, math.MaxInt16), token,
		int64(q.For/time.Microsecond), budget)
	s.add(claimed, token, claimContent).Query(func(rows pgx.Rows) (err error) {
		found.Rows, err = scanRows(rows)
		return err
	})
	s.add(claimedEntries, string(q.Topic), token).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			e := relay.Entry{Topic: q.Topic}
			var due int64
			if err := rows.Scan(&e.Message, &e.Key, &due, &e.Payload); err != nil {
				return err
			}
			e.Due = spool.TimeOf(due)
			found.Entries[e.Message] = append(found.Entries[e.Message], e)
		}
		return rows.Err()
	})
	s.add(nextEntry, string(q.Topic)).QueryRow(func(row pgx.Row) error { return row.Scan(&found.Next) })
	return found, c.Transact(ctx, &s.Batch)
}

// GiveBack ends claims of messages.
func (d *DB) GiveBack(ctx context.Context, c *postgres.Conn, given []Given) error {
	s := d.unsynced(0)
	s.giveBack(given)
	return c.Transact(ctx, &s.Batch)
}

// giveBack adds the statement that ends claims.
func (s *statements) giveBack(given []Given) {
	s.add(giveBack, column(given, func(g Given) string { return g.Message }),
		column(given, func(g Given) int64 { return g.Token }))
}

// scanRows reads rows with the contents behind their columns.
func scanRows(rows pgx.Rows) (all []*Row, err error) {
	for rows.Next() {
		var body []byte
		r, err := scanRow(rows, &body)
		if err != nil {
			return nil, err
		}
		r.Data = body
		all = append(all, r)
	}
	return all, rows.Err()
}
