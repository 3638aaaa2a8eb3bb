package database

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
)

// findContent finds a message's content, and reads the first part of it.
const findContent = `
select f.id, f.size, f.sum, f.sum, f.body from @.fresh f where f.id = $1
union all
select m.content, m.size, m.sum, c.sum, c.body from @.msg m left join @.content c
	on c.id = m.content and c.part = 0 where m.id = $1
limit 1`

const readPart = `select sum, body from @.content where id = $1 and part = $2`

// Content is a content in the database.
type Content struct {
	Key   string
	Size  int64
	Sum   uint32 // of all of it
	First *Part  // nil when it is missing
}

// Part is a part of a content.
type Part struct {
	Sum  uint32
	Body []byte
}

// FindContent finds the content of a message; it returns relay.ErrNotFound if there is no such message.
func (d *DB) FindContent(ctx context.Context, c *postgres.Conn, id string) (*Content, error) {
	var found Content
	var sum *uint32
	var body []byte
	err := c.QueryRow(ctx, d.SQL(findContent), id).Scan(&found.Key, &found.Size, &found.Sum, &sum, &body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, relay.ErrNotFound
	}
	if err == nil && sum != nil {
		found.First = &Part{Sum: *sum, Body: body}
	}
	return &found, err
}

// ReadPart reads a part of a content; nil when it is missing.
func (d *DB) ReadPart(ctx context.Context, c *postgres.Conn, key string, part int) (*Part, error) {
	p := new(Part)
	err := c.QueryRow(ctx, d.SQL(readPart), key, part).Scan(&p.Sum, &p.Body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return p, err
}

// The parts of a content come before its message, which makes them durable: so they need not be by
// themselves.
const (
	stagePart = `insert into @.content (id, part, sum, body) select $2, $3::int, $4::bigint, $5::bytea
	where $1::bigint is not null`
	stageKey = `insert into @.staged (content, owner) values ($2, $1)`
	unstage  = `delete from @.content where id in (select content from @.staged
		where content = $2 and owner = $1)`
	unstage2 = `delete from @.staged where content = $2 and owner = $1`
)

// StagePart stores a part of a content whose message is to come.
func (d *DB) StagePart(ctx context.Context, c *postgres.Conn, me int64, key string, part int, p Part) error {
	s := d.unsynced(me)
	if part == 0 {
		s.add(stageKey, key)
	}
	s.add(stagePart, key, part, int64(p.Sum), p.Body)
	return c.Transact(ctx, &s.Batch)
}

// Unstage removes a content whose message does not come.
func (d *DB) Unstage(ctx context.Context, c *postgres.Conn, me int64, key string) error {
	s := d.unsynced(me)
	s.add(unstage, key)
	s.add(unstage2, key)
	return c.Transact(ctx, &s.Batch)
}
