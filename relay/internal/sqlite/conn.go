// Package sqlite speaks to SQLite, for the rooms that keep something in a database: the spool, and what is
// remembered of relayed mail. It knows no table: what is stored, and when it is durable, is for the rooms.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net/url"
	"strings"

	"modernc.org/sqlite"
)

// Conn is one connection to the database, with the statements that it has prepared. It is for one goroutine
// at a time.
//
// It speaks to the driver without database/sql, whose pool and conversions cost as much as the statements
// themselves here.
type Conn struct {
	c     driver.Conn
	stmts map[string]statement
	args  []driver.NamedValue
}

// statement is what the driver's statements are.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// Open opens the database file name. Options are URI parameters, "mode=ro" for instance; pragmas are run at
// once.
func Open(name, options string, pragmas ...string) (*Conn, error) {
	uri := url.URL{Scheme: "file", Opaque: escapePath(name), RawQuery: options}
	dc, err := new(sqlite.Driver).Open(uri.String())
	if err != nil {
		return nil, err
	}
	c := &Conn{c: dc, stmts: map[string]statement{}}
	for _, p := range pragmas {
		if err := c.Run("PRAGMA " + p); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// escapePath escapes what SQLite would take for a part of a URI.
func escapePath(name string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(name)
}

// prepare returns the statement for a query, from the second time on without parsing it.
func (c *Conn) prepare(query string) (statement, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	p, err := c.c.Prepare(query)
	if err != nil {
		return nil, err
	}
	s, ok := p.(statement)
	if !ok {
		p.Close()
		return nil, errors.New("the SQLite driver's statements do not take contexts")
	}
	c.stmts[query] = s
	return s, nil
}

// named gives args in the driver's form. It is valid until the next call.
func (c *Conn) named(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// Exec runs a statement that gives no rows, and returns how many it changed.
func (c *Conn) Exec(query string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), c.named(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Run runs statements that are used once, without keeping them prepared.
func (c *Conn) Run(script string) error {
	s, err := c.c.Prepare(script)
	if err != nil {
		return err
	}
	_, err = s.(statement).ExecContext(context.Background(), nil)
	return errors.Join(err, s.Close())
}

// ErrStop, returned for a row, ends a query early without being an error.
var ErrStop = errors.New("stop")

// Query calls each for every row. The row is valid during the call only; its byte slices may be kept.
func (c *Conn) Query(each func(row []driver.Value) error, query string, args ...driver.Value) error {
	return c.QueryContext(context.Background(), each, query, args...)
}

// QueryContext is Query, interrupted when ctx ends.
func (c *Conn) QueryContext(ctx context.Context, each func(row []driver.Value) error, query string,
	args ...driver.Value) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, c.named(args))
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err = rows.Next(row); err == nil {
			err = each(row)
		}
		if err != nil {
			break
		}
	}
	if err == io.EOF || err == ErrStop {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// Integer returns the first column of the first row; ok is false when there is no row or it is NULL.
func (c *Conn) Integer(query string, args ...driver.Value) (n int64, ok bool, err error) {
	err = c.Query(func(row []driver.Value) error {
		n, ok = row[0].(int64)
		return ErrStop
	}, query, args...)
	return n, ok, err
}

// Close closes the connection and its statements.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.c.Close())...)
}

// Code returns the primary result code of an error of SQLite (https://www.sqlite.org/rescode.html), and 0 for
// any other.
func Code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
