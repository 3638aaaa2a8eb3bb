package database

import (
	"database/sql/driver"

	"mailwhy/relay/internal/sqlite"
)

// Conn is one connection to the database. It is for one goroutine at a time.
type Conn struct {
	*sqlite.Conn

	format int64 // of the database; 0 for one that is new, or does not say

	newest      string // no message has a greater id; see HasID
	newestKnown bool
}

// Open opens the database file name. Options are URI parameters, "mode=ro" for instance; pragmas are run at
// once.
func Open(name, options string, pragmas ...string) (*Conn, error) {
	plain, err := sqlite.Open(name, options, pragmas...)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: plain}
	if c.format, err = c.Version(); err != nil && !IsDamage(err) {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ErrStop, returned for a row, ends a query early without being an error.
var ErrStop = sqlite.ErrStop

// rowInto copies the texts of the first row.
func rowInto(texts ...*string) func([]driver.Value) error {
	return func(row []driver.Value) error {
		for i, t := range texts {
			*t, _ = row[i].(string)
		}
		return ErrStop
	}
}
