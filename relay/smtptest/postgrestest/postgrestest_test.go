package postgrestest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay/smtptest"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

// connect opens a connection that is closed with the test.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestDatabasesApart(t *testing.T) {
	one, two := connect(t, Database(t)), connect(t, Database(t))
	if _, err := one.Exec(t.Context(), "create table x (n int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Exec(t.Context(), "select n from x"); err == nil {
		t.Error("a table of one test is there in another")
	}
}

// TestFailover: what was committed is there after a kill -9 of the primary and the promotion of its standby,
// and a client with both hosts finds the new primary.
func TestFailover(t *testing.T) {
	primary := New(t, Options{NoSync: true})
	standby := primary.Standby(t)
	url := primary.URL("postgres", standby)
	if _, err := connect(t, url).Exec(t.Context(), "create table x as select 7 as n"); err != nil {
		t.Fatal(err)
	}
	standby.Freeze()
	if err := commit(t, url, time.Second); err == nil {
		t.Error("a commit did not wait for the frozen standby")
	}
	standby.Thaw()
	smtptest.WaitFor(t, "commits to go on", func() bool { return commit(t, url, 5*time.Second) == nil })
	primary.Kill()
	standby.Promote(t)
	var n int
	err := connect(t, url).QueryRow(t.Context(), "select n from x limit 1").Scan(&n)
	if err != nil || n != 7 {
		t.Errorf("after the promotion: %d, %v", n, err)
	}
	if err := primary.Start(); err != nil {
		t.Error(err)
	}
	primary.Stop()
	if primary.alive() {
		t.Error("the server runs on")
	}
}

// commit writes something, within a time.
func commit(t *testing.T, url string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(context.Background())
	_, err = c.Exec(ctx, "insert into x values (7)")
	return err
}
