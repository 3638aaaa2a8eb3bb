package database

import (
	"github.com/jackc/pgx/v5"

	"mailwhy/relay/spool"
)

// Row is a message as it stands in one of the tables. Record.Mail is not known: the text of the message has
// it.
type Row struct {
	*spool.Record
	Content string // the key of its content
	Fresh   bool   // it is in the table fresh
}

// columns are those of msg, as scanRow reads them. The last one may be its content.
const columns = "id, content, lane, coalesce(turn, 0), due, crashes, arrived, size, sum, open, head," +
	" head_sum, recipients, state_sum"

// freshColumns are columns of the table fresh.
const freshColumns = "id, id, lane, 0, due, 0, arrived, size, sum, open, head, head_sum," +
	" recipients, state_sum"

// scanRow reads a row of columns, and what comes behind them.
func scanRow(rows pgx.Rows, more ...any) (*Row, error) {
	r := &Row{Record: new(spool.Record)}
	var head, recipients []byte
	into := append([]any{
		&r.ID, &r.Content, &r.Lane, &r.Slot, &r.Due, &r.Crashes, &r.Arrived, &r.Size, &r.Sum, &r.Open, &head,
		&r.HeadSum, &recipients, &r.StateSum,
	}, more...)
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	r.Head, r.Recipients = string(head), string(recipients)
	return r, nil
}

// scanIDs collects the ids that a statement returns.
func scanIDs(into map[string]bool) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			into[id] = true
		}
		return rows.Err()
	}
}

// column is one field of each of a list, for unnest.
func column[S, T any](list []S, of func(S) T) []T {
	c := make([]T, len(list))
	for i, s := range list {
		c[i] = of(s)
	}
	return c
}

// octets are the bytes of a text, never nil: that would be null.
func octets(s string) []byte { return append([]byte{}, s...) }
