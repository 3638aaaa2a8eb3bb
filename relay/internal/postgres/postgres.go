// Package postgres is what everything of ours that stands on PostgreSQL needs: a connection that knows when a
// commit is in doubt, statements that name their schema, migrations, and the question whether a promotion
// could lose what was committed. It knows no tables but its own, meta.
//
// What always holds:
//
//   - A transaction is one round trip (Conn.Transact), and what its statements returned is used only when
//     that has returned nil: the rows of a statement are sent before the commit is on the standby.
//   - ErrInDoubt is a commit of which nobody can say whether it has happened: the connection was lost, the
//     caller's time was up, or somebody cancelled the wait for the standby, of which PostgreSQL tells by a
//     warning only. The connection is closed then. Any other error means that nothing was changed.
//   - Nothing rests on the settings of a session, and every table is named with its schema, so that a pooler
//     may give each transaction another connection. Behind one that knows no prepared statements the URL
//     says default_query_exec_mode=exec.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says where the database is. It is made by Parse, and safe for concurrent use.
type Config struct {
	Schema string
	pgx    *pgx.ConnConfig
	sql    sync.Map // text as it is written -> with the schema
}

// connectTimeout is how long a connection to one host may take, unless the URL says otherwise.
const connectTimeout = 5 * time.Second

// validSchema is what a schema may be called: a name that needs no quoting, and that others can be made of.
var validSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// Parse reads a URL or a list of key=value, as libpq has them, and the name of the schema. Its error does not
// show the password.
func Parse(url, schema string) (*Config, error) {
	if !validSchema.MatchString(schema) {
		return nil, fmt.Errorf("not a valid name of a schema: %q: use lower-case letters, digits and _",
			schema)
	}
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "mailwhy"
	}
	return &Config{Schema: schema, pgx: c}, nil
}

// SQL is a statement with the schema in the place of each "@": "select id from @.msg".
func (c *Config) SQL(text string) string {
	if s, ok := c.sql.Load(text); ok {
		return s.(string)
	}
	s := strings.ReplaceAll(text, "@", c.Schema)
	c.sql.Store(text, s)
	return s
}

// Conn is a connection. It is for one goroutine at a time.
type Conn struct {
	*pgx.Conn
	cancelled atomic.Bool // a wait for the standby was, since the transaction began
}

// Connect opens a connection: of several hosts, to the first that the URL's target_session_attrs accepts.
func (c *Config) Connect(ctx context.Context) (*Conn, error) {
	conn := new(Conn)
	cc := c.pgx.Copy()
	cc.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Code == "01000" {
			conn.cancelled.Store(true)
		}
	}
	var err error
	if conn.Conn, err = pgx.ConnectConfig(ctx, cc); err != nil {
		return nil, err
	}
	return conn, nil
}

// ErrInDoubt is a commit that may have happened or not. It must be tried again in a way that does no harm if
// it had.
var ErrInDoubt = errors.New("it is not known whether the commit has happened")

// Transact runs a batch as one transaction. The functions that are given to its queries are called before the
// commit is known to have happened.
func (c *Conn) Transact(ctx context.Context, b *pgx.Batch) error {
	c.cancelled.Store(false)
	err := c.SendBatch(ctx, b).Close()
	if err == nil && c.cancelled.Load() {
		err = errors.New("somebody cancelled the wait for the standby")
	} else if err == nil || Refused(err) {
		return err
	}
	c.Drop()
	return fmt.Errorf("%w: %w", ErrInDoubt, err)
}

// Drop closes the connection without waiting for anything.
func (c *Conn) Drop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Close(ctx)
}

// Code is the SQLSTATE of an error, "" if it is not the server's.
func Code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// Refused reports whether an error says for sure that the server changed nothing: an error of a statement.
// One that ends the session says nothing of the commit that was under way.
func Refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}
