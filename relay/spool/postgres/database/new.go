package database

import (
	"slices"

	"mailwhy/relay/spool"
)

// insertFresh stores mail that is leased to me.
const insertFresh = `
insert into @.fresh (id, owner, lane, arrived, size, sum, due, open, head, head_sum, recipients, state_sum,
	body)
select t.id, $1, t.lane, t.arrived, t.size, t.sum, t.due, t.open, t.head, t.head_sum, t.recipients,
	t.state_sum, t.body
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::int[],
	$9::bytea[], $10::bigint[], $11::bytea[], $12::bigint[], $13::bytea[])
	t (id, lane, arrived, size, sum, due, open, head, head_sum, recipients, state_sum, body)
where not exists (select 1 from @.msg m where m.id = t.id)
	and not exists (select 1 from @.gone g where g.id = t.id)
order by t.id
on conflict do nothing
returning id`

// insertMsg stores other mail.
const insertMsg = `
insert into @.msg (id, content, lane, turn, due, owner, remember, shared, arrived, size, sum, open, head,
	head_sum, recipients, state_sum)
select t.id, t.content, t.lane, nullif(t.turn, 0), t.due, case when t.leased then $1::bigint end,
	not t.leased, t.shared, t.arrived, t.size, t.sum, t.open, t.head, t.head_sum, t.recipients, t.state_sum
from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[], $8::bool[],
	$9::bigint[],
	$10::bigint[], $11::bigint[], $12::int[], $13::bytea[], $14::bigint[], $15::bytea[], $16::bigint[])
	t (id, content, lane, turn, due, leased, shared, arrived, size, sum, open, head, head_sum, recipients,
	state_sum)
where not exists (select 1 from @.fresh f where f.id = t.id)
	and not exists (select 1 from @.gone g where g.id = t.id)
order by t.id
on conflict do nothing
returning id`

// insertContent stores the contents of mail that was stored.
const insertContent = `
insert into @.content (id, part, sum, body)
select t.id, 0, t.sum, t.body from unnest($2::text[], $3::bigint[], $4::bytea[]) t (id, sum, body)
where $1::bigint is not null and exists (select 1 from @.msg m where m.content = t.id)
order by t.id
on conflict do nothing`

// A content that was staged stays if a message has it.
const (
	endStaged  = `delete from @.staged where content = any($2) and owner = $1`
	dropUnused = `delete from @.content c where $1::bigint is not null and c.id = any($2)
	and not exists (select 1 from @.msg m where m.content = c.id)`
)

// Mail of which the client was told that it was not stored goes, unless somebody else has it already.
const (
	takeBackFresh = `delete from @.fresh where id = any($2) and owner = $1`
	takeBackMsg   = `delete from @.msg where id = any($2) and (owner is null or owner = $1)`
)

// queueNew adds what stores new mail.
func (ch *Changes) queueNew(s *statements) {
	if len(ch.Fresh) > 0 {
		ch.queueFresh(s)
	}
	if len(ch.New) > 0 {
		ch.queueMsg(s)
	}
	if len(ch.Staged) > 0 {
		s.add(endStaged, ch.Staged)
		s.add(dropUnused, ch.Staged)
	}
	if len(ch.TakenBack) > 0 {
		s.add(takeBackFresh, ch.TakenBack)
		s.add(takeBackMsg, ch.TakenBack)
	}
}

func (ch *Changes) queueFresh(s *statements) {
	f := ch.Fresh
	s.add(insertFresh,
		column(f, id), column(f, func(r *spool.Record) string { return r.Lane }), column(f, arrived),
		column(f, size), column(f, sum), column(f, due), column(f, open), column(f, head), column(f, headSum),
		column(f, recipients), column(f, stateSum), column(f, body),
	).Query(scanIDs(ch.Stored))
}

func (ch *Changes) queueMsg(s *statements) {
	n := ch.New
	r := column(n, func(n *New) *spool.Record { return n.Record })
	s.add(insertMsg,
		column(r, id), column(n, func(n *New) string { return n.Content }),
		column(r, func(r *spool.Record) string { return r.Lane }), column(r, slot), column(r, due),
		column(n, func(n *New) bool { return n.Leased }), column(n, func(n *New) bool { return n.Shared }),
		column(r, arrived), column(r, size), column(r, sum), column(r, open), column(r, head),
		column(r, headSum), column(r, recipients), column(r, stateSum),
	).Query(scanIDs(ch.Stored))
	var contents []*New
	for _, m := range n {
		there := func(o *New) bool { return o.Content == m.Content }
		if !m.Staged && !slices.ContainsFunc(contents, there) {
			contents = append(contents, m)
		}
	}
	if len(contents) > 0 {
		s.add(insertContent, column(contents, func(n *New) string { return n.Content }),
			column(contents, func(n *New) int64 { return sum(n.Record) }),
			column(contents, func(n *New) []byte { return body(n.Record) }))
	}
}

// The fields of a record as they are stored.
func id(r *spool.Record) string         { return r.ID }
func slot(r *spool.Record) int64        { return r.Slot }
func due(r *spool.Record) int64         { return r.Due }
func open(r *spool.Record) int32        { return int32(r.Open) }
func arrived(r *spool.Record) int64     { return r.Arrived }
func size(r *spool.Record) int64        { return r.Size }
func sum(r *spool.Record) int64         { return int64(r.Sum) }
func head(r *spool.Record) []byte       { return octets(r.Head) }
func headSum(r *spool.Record) int64     { return int64(r.HeadSum) }
func recipients(r *spool.Record) []byte { return octets(r.Recipients) }
func stateSum(r *spool.Record) int64    { return int64(r.StateSum) }

// body is the content of a record, never nil: that would be null.
func body(r *spool.Record) []byte {
	if r.Data == nil {
		return []byte{}
	}
	return r.Data
}
