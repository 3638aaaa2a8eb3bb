package database

import (
	"github.com/jackc/pgx/v5"
)

// Where nothing waits for a message any more it goes.
const (
	endFresh = `delete from @.fresh where id = any($2) and owner = $1 returning id`
	endMsg   = `delete from @.msg m where id = any($2) and owner = $1
	and not exists (select 1 from @.outbox o where o.message = m.id) returning id`
)

// moved are the columns of msg that a message of the table fresh comes with. It comes alone, and those who
// put it know that it has gone.
const moved = `(id, content, lane, turn, due, crashes, remember, shared, arrived, size, sum, open, head,
	head_sum, recipients, state_sum)`

// changeFresh stores a new state, which moves the message to the table msg.
const changeFresh = `
with f as (delete from @.fresh where id = any($2) and owner = $1 returning *),
c as (insert into @.content (id, part, sum, body) select id, 0, sum, body from f order by id
	on conflict do nothing)
insert into @.msg ` + moved + `
select f.id, f.id, coalesce(nullif(t.lane, ''), f.lane), nullif(t.turn, 0), t.due, 0, false, false, f.arrived,
	f.size, f.sum, t.open, f.head, f.head_sum, t.recipients, t.state_sum
from f join unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::int[], $7::bytea[], $8::bigint[])
	t (id, lane, turn, due, open, recipients, state_sum) using (id)
order by f.id
returning id, lane`

// changeMsg stores a new state. The lane is the row's, unless it changes: the message may have been given to
// another one since it was leased.
const changeMsg = `
update @.msg m set lane = coalesce(nullif(t.lane, ''), m.lane), turn = nullif(t.turn, 0), due = t.due,
	owner = null, batch = null, crashes = 0, open = t.open, recipients = t.recipients, state_sum = t.state_sum
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::int[], $7::bytea[], $8::bigint[])
	t (id, lane, turn, due, open, recipients, state_sum)
where m.id = t.id and m.owner = $1
returning m.id, m.lane`

// An operator drops a message, whatever is owed for it.
const (
	dropEntries = `delete from @.outbox where $1::bigint is not null and message = any($2)`
	dropMsg     = `delete from @.msg where id = any($2) and owner = $1 returning id`
	remember    = `insert into @.gone (id, "until") select id, now() + interval '8 days'
	from unnest($2::text[]) t (id) where $1::bigint is not null order by id
	on conflict (id) do update set "until" = excluded."until"`
)

// Messages that are given back are as they were, with their turns.
const (
	freeFresh = `
with f as (delete from @.fresh where id = any($2) and owner = $1 returning *),
c as (insert into @.content (id, part, sum, body) select id, 0, sum, body from f order by id
	on conflict do nothing)
insert into @.msg ` + moved + `
select f.id, f.id, f.lane, nullif(t.turn, 0), f.due, 0, false, false, f.arrived, f.size, f.sum, f.open,
	f.head,
	f.head_sum, f.recipients, f.state_sum
from f join unnest($2::text[], $3::bigint[]) t (id, turn) using (id) order by f.id`
	freeMsg = `update @.msg m set owner = null, batch = null, turn = nullif(t.turn, 0)
	from unnest($2::text[], $3::bigint[]) t (id, turn) where m.id = t.id and m.owner = $1`
)

const (
	unlease  = `update @.msg set owner = null, batch = null where owner = $1 and batch = any($2)`
	setAside = `update @.msg set owner = null, batch = null, turn = null, due = 9223372036854775807
	where owner = $1 and id = any($2)`
)

// queueStates adds what changes messages that are leased to me.
func (ch *Changes) queueStates(s *statements) {
	fresh, msg := split(ch.Ended)
	if len(fresh) > 0 {
		s.add(endFresh, column(fresh, stateID)).Query(scanIDs(ch.Removed))
	}
	if len(msg) > 0 {
		s.add(endMsg, column(msg, stateID)).Query(scanIDs(ch.Removed))
		ch.queueChange(s, changeMsg, msg) // those that the outbox keeps
	}
	fresh, msg = split(ch.Changed)
	ch.queueChange(s, changeFresh, fresh)
	ch.queueChange(s, changeMsg, msg)
	if fresh, msg = split(ch.Dropped); len(ch.Dropped) > 0 {
		s.add(dropEntries, column(msg, stateID))
		s.add(endFresh, column(fresh, stateID)).Query(scanIDs(ch.Removed))
		s.add(dropMsg, column(msg, stateID)).Query(scanIDs(ch.Removed))
		s.add(remember, column(ch.Dropped, stateID))
	}
	if fresh, msg = split(ch.Freed); len(fresh) > 0 {
		s.add(freeFresh, column(fresh, stateID), column(fresh, stateSlot))
	}
	if len(msg) > 0 {
		s.add(freeMsg, column(msg, stateID), column(msg, stateSlot))
	}
	if len(ch.Unleased) > 0 {
		s.add(unlease, ch.Unleased)
	}
	if len(ch.Unclaimed) > 0 {
		s.add(unclaim, ch.Unclaimed)
	}
	if len(ch.GivenBack) > 0 {
		s.giveBack(ch.GivenBack)
	}
	if len(ch.SetAside) > 0 {
		s.add(setAside, ch.SetAside)
	}
}

// queueChange adds a statement that stores new states.
func (ch *Changes) queueChange(s *statements, sql string, states []*State) {
	if len(states) == 0 {
		return
	}
	s.add(sql, column(states, stateID), column(states, func(st *State) string { return st.Lane }),
		column(states, stateSlot), column(states, func(st *State) int64 { return st.Due }),
		column(states, func(st *State) int32 { return open(st.Record) }),
		column(states, func(st *State) []byte { return recipients(st.Record) }),
		column(states, func(st *State) int64 { return stateSum(st.Record) }),
	).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id, lane string
			if err := rows.Scan(&id, &lane); err != nil {
				return err
			}
			ch.Lanes[id] = lane
		}
		return rows.Err()
	})
}

func stateID(st *State) string  { return st.ID }
func stateSlot(st *State) int64 { return st.Slot }

// split tells the messages of the two tables apart.
func split(states []*State) (fresh, msg []*State) {
	for _, st := range states {
		if st.Fresh {
			fresh = append(fresh, st)
		} else {
			msg = append(msg, st)
		}
	}
	return fresh, msg
}
