package postgres

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay/smtptest/postgrestest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m)) }

// connect opens a connection until the test ends.
func connect(t *testing.T, url string) (*Config, *Conn) {
	t.Helper()
	c, err := Parse(url, "relay_1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Drop)
	return c, conn
}

// tables are those of versions 1 to n.
func tables(n, minReader int) Tables {
	steps := []string{"create table @.one (n int); insert into @.one values (1)",
		"alter table @.one add m int",
		"create table @.three (n int)"}
	return Tables{Component: "test", Steps: steps[:n], MinReader: minReader}
}

// TestMigrateAtOnce: many programs make the tables at once, and each step is made once.
func TestMigrateAtOnce(t *testing.T) {
	url := postgrestest.Database(t)
	var wg sync.WaitGroup
	for range 8 {
		c, conn := connect(t, url)
		wg.Go(func() {
			if err := c.Migrate(t.Context(), conn, tables(2, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c, conn := connect(t, url)
	var n int
	if err := conn.QueryRow(t.Context(), c.SQL("select count(*) from @.one")).Scan(&n); err != nil || n != 1 {
		t.Errorf("the first step was made %d times: %v", n, err)
	}
}

// TestMigrateVersions: a program uses the tables of a later one until these ask for a newer program.
func TestMigrateVersions(t *testing.T) {
	c, conn := connect(t, postgrestest.Database(t))
	migrate := func(t1 Tables) error { return c.Migrate(t.Context(), conn, t1) }
	for _, step := range []Tables{tables(1, 1), tables(2, 1), tables(1, 1), tables(3, 2), tables(2, 1)} {
		if err := migrate(step); err != nil {
			t.Fatalf("%d steps: %v", len(step.Steps), err)
		}
	}
	err := migrate(tables(1, 1))
	if !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a program that is too old: %v", err)
	}
	other := tables(1, 1)
	other.Component, other.Steps = "other", []string{"create table @.other (n int)"}
	if err := migrate(other); err != nil {
		t.Errorf("another component in the same schema: %v", err)
	}
}

// TestMigrateFails: a step that fails leaves nothing behind.
func TestMigrateFails(t *testing.T) {
	c, conn := connect(t, postgrestest.Database(t))
	bad := tables(2, 1)
	bad.Steps[1] = "alter table @.nothing add m int"
	if err := c.Migrate(t.Context(), conn, bad); err == nil || !strings.Contains(err.Error(), "step 2") {
		t.Errorf("%v", err)
	}
	if err := c.Migrate(t.Context(), conn, tables(2, 1)); err != nil {
		t.Error(err)
	}
}

// TestMigrateBehindALock: while somebody holds a lock on the tables the migration waits in short tries, so
// that those behind it go on, and it ends with its context.
func TestMigrateBehindALock(t *testing.T) {
	url := postgrestest.Database(t)
	c, conn := connect(t, url)
	if err := c.Migrate(t.Context(), conn, tables(1, 1)); err != nil {
		t.Fatal(err)
	}
	_, other := connect(t, url)
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), c.SQL("lock table @.one in access share mode")); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Migrate(t.Context(), conn, tables(2, 1)) }()
	_, third := connect(t, url)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := third.Exec(ctx, c.SQL("select * from @.one")); err != nil {
			t.Errorf("a reader: %v", err)
		}
		cancel()
		time.Sleep(10 * time.Millisecond)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ url, schema string }{
		{"postgres://u@h/d", "Relay"}, {"postgres://u@h/d", `a"b`}, {"postgres://u@h/d", ""},
		{"postgres://u:secret@h:port/d", "relay"}, {"nonsense", "relay"},
	} {
		if _, err := Parse(tc.url, tc.schema); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q, %q: %v", tc.url, tc.schema, err)
		}
	}
}

func TestImitations(t *testing.T) {
	for version, want := range map[string]string{
		"PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc":  "",
		"CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)":                    "CockroachDB",
		"PostgreSQL 11.2-YB-2024.1.0.0-b0 on x86_64-pc-linux-gnu, compiled by clang, 64-bit": "YugabyteDB",
	} {
		if got := imitation(version); got != want {
			t.Errorf("%s: %q", version, got)
		}
	}
}

// TestTransact: an error of a statement says that nothing was changed; the end of the session, or of the
// caller's time, that nobody knows.
func TestTransact(t *testing.T) {
	for name, tc := range map[string]struct {
		sql   string
		doubt bool
	}{
		"refused":     {"select 1/0", false},
		"the session": {"select pg_terminate_backend(pg_backend_pid())", true},
		"time is up":  {"select pg_sleep(60)", true},
	} {
		t.Run(name, func(t *testing.T) {
			c, conn := connect(t, postgrestest.Database(t))
			if err := c.Migrate(t.Context(), conn, tables(1, 1)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			b := new(pgx.Batch)
			b.Queue(c.SQL("insert into @.one values (2)"))
			b.Queue(tc.sql)
			err := conn.Transact(ctx, b)
			if err == nil || errors.Is(err, ErrInDoubt) != tc.doubt || conn.IsClosed() != tc.doubt {
				t.Errorf("%v, closed %v", err, conn.IsClosed())
			}
			_, other := connect(t, conn.Config().ConnString())
			var n int
			if err := other.QueryRow(t.Context(), c.SQL("select count(*) from @.one")).Scan(&n); err != nil ||
				n != 1 {
				t.Errorf("%d rows, %v", n, err)
			}
		})
	}
}
