package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/smtptest/process"
)

// exec runs statements as the database's owner.
func execute(t *testing.T, url, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// TestOpenAtOnce: members that start at a time make the tables once; clusters of two names do not meet.
func TestOpenAtOnce(t *testing.T) {
	o := options(postgrestest.Database(t))
	other := o
	other.Name = "other"
	var works sync.WaitGroup
	for range 6 {
		works.Go(func() { join(t, o) })
	}
	works.Wait()
	if t.Failed() {
		return
	}
	one, two := join(t, o), join(t, other)
	if list, err := one.Members(t.Context()); err != nil || len(list) != 7 {
		t.Errorf("%d members, %v", len(list), err)
	}
	if list, err := two.Members(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d members of the other cluster, %v", len(list), err)
	}
}

// TestRefused: what is no PostgreSQL, a database of a later release, and what cannot be an address.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT 'CockroachDB CCL v25.3.0 (x86_64-pc-linux-gnu)'", "CockroachDB is not supported"},
		{"SELECT 'PostgreSQL 15.12-YB-2026.1.1.0-b0 on x86_64-pc-linux-gnu'", "YugabyteDB is not supported"},
	} {
		url := postgrestest.Database(t)
		execute(t, url, "CREATE FUNCTION public.version() RETURNS text LANGUAGE sql AS $$"+c.sql+"$$;")
		name := url[strings.LastIndexByte(url, '/')+1 : strings.LastIndexByte(url, '?')]
		execute(t, url, "ALTER DATABASE "+name+" SET search_path = public, pg_catalog")
		if _, err := Open(t.Context(), options(url)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	url := postgrestest.Database(t)
	join(t, options(url))
	execute(t, url, "UPDATE mail.meta SET version = 7, min_reader = 6")
	_, err := Open(t.Context(), options(url))
	if err == nil || !strings.Contains(err.Error(), "newer mailwhy") {
		t.Errorf("tables of a later release: %v", err)
	}
	execute(t, url, "UPDATE mail.meta SET version = 7, min_reader = 1")
	join(t, options(url))
	if _, err := Open(t.Context(), options("postgres://u:geheim@h:x/")); err == nil ||
		strings.Contains(err.Error(), "geheim") {
		t.Errorf("not an address: %v", err)
	}
	o := options(url)
	o.Key = []byte("short")
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a short key: %v", err)
	}
}

// TestFrozen: a server that answers nothing is given up in time, and found again.
func TestFrozen(t *testing.T) {
	server := postgrestest.New(t, postgrestest.Options{NoSync: true})
	o := options(server.URL("postgres"))
	o.Timeout = time.Second
	c := join(t, o)
	q := relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1}
	smtptest.WaitFor(t, "a share", func() bool { _, err := c.Take(t.Context(), q); return err == nil })
	server.Freeze()
	begun := time.Now()
	if _, err := c.Take(t.Context(), q); !errors.Is(err, errSlow) {
		t.Errorf("a frozen server: %v after %v", err, time.Since(begun))
	}
	server.Thaw()
	smtptest.WaitFor(t, "a share again", func() bool { _, err := c.Take(t.Context(), q); return err == nil })
}

// TestStandby: without the standby members go on; secrets and suppressions wait for it, and say so. After the
// promotion they go on there.
func TestStandby(t *testing.T) {
	primary := postgrestest.New(t, postgrestest.Options{NoSync: true})
	standby := primary.Standby(t)
	o := options(primary.URL("postgres", standby))
	o.Timeout = 2 * time.Second
	c := join(t, o)
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	put := func(name string) error {
		_, err := c.PutSecret(t.Context(), name, 0, []byte("x"))
		return err
	}
	ok("a secret", put("before"))
	standby.Freeze()
	smtptest.WaitFor(t, "a duty, a share and an entry without the standby", func() bool {
		_, held, errHold := c.Hold(t.Context(), "d", time.Hour)
		_, errTake := c.Take(t.Context(), relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1,
			Exact: true, Messages: 30, Per: time.Minute, Ask: 1})
		_, _, errWrite := c.Write(t.Context(), "n", relay.AnyVersion, []byte("x"), 0)
		return held && errors.Join(errHold, errTake, errWrite) == nil
	})
	if err := put("alone"); !errors.Is(err, errSlow) {
		t.Errorf("a secret without the standby: %v", err)
	}
	change := []relay.SuppressionChange{{Key: "* a@b.test", Entry: relay.Suppression{Address: "a@b.test"}}}
	if _, err := c.Suppressions().Push(t.Context(), change); !errors.Is(err, errSlow) {
		t.Errorf("a suppression without the standby: %v", err)
	}
	standby.Thaw()
	smtptest.WaitFor(t, "a secret with the standby", func() bool { return put("again") == nil })
	primary.Kill()
	standby.Promote(t)
	smtptest.WaitFor(t, "the new primary is found", func() bool {
		value, _, _, err := c.Secret(t.Context(), "again")
		return err == nil && string(value) == "x"
	})
	smtptest.WaitFor(t, "a secret there", func() bool { return put("after") == nil })
}

// TestPooler: all of it through PgBouncer, which gives each transaction another connection.
func TestPooler(t *testing.T) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Skip("skipping: pgbouncer is not installed: apt-get install pgbouncer")
	}
	o := options(postgrestest.Database(t))
	o.URL = pooler(t, program, o.URL)
	one, two := join(t, o), join(t, o)
	var heard sync.WaitGroup
	heard.Add(1)
	done := sync.OnceFunc(heard.Done)
	defer two.Watch("n", func(relay.BoardEntry) { done() })()
	for range 20 {
		for _, c := range []*Cluster{one, two} {
			_, errTake := c.Take(t.Context(), relay.ShareQuery{Account: "a", Connections: 9, Wanted: 2})
			_, _, errHold := c.Hold(t.Context(), "d", time.Minute)
			_, _, errWrite := c.Write(t.Context(), "n", relay.AnyVersion, []byte("x"), time.Minute)
			_, version, _, errSecret := c.Secret(t.Context(), "s")
			_, errPut := c.PutSecret(t.Context(), "s", version, []byte("y"))
			_, _, errPull := c.Suppressions().Pull(t.Context(), 0, 10)
			_, errMembers := c.Members(t.Context())
			err := errors.Join(errTake, errHold, errWrite, errSecret, errPut, errPull, errMembers)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	heard.Wait()
	if err := errors.Join(one.Leave(t.Context()), two.Leave(t.Context())); err != nil {
		t.Error(err)
	}
}

// pooler runs PgBouncer before a database, and returns its URL.
func pooler(t *testing.T, program, database string) string {
	t.Helper()
	c, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pooler") // which another account may read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addr, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(addr, ":")
	file := filepath.Join(dir, "pgbouncer.ini")
	text := strings.NewReplacer("HOST", c.Host, "PORT", fmt.Sprint(c.Port), "NAME", c.Database).Replace(`
[databases]
NAME = host=HOST port=PORT dbname=NAME user=postgres pool_size=3
[pgbouncer]
pool_mode = transaction
auth_type = any
unix_socket_dir =
`) + "listen_addr = " + host + "\nlisten_port = " + port + "\n"
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	args := []string{program, file}
	if os.Getuid() == 0 { // it refuses to run as root
		args = []string{program, "-u", "nobody", file}
	}
	p, err := process.Spec{Args: args, Log: filepath.Join(dir, "log")}.Launch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	url := "postgres://postgres@" + addr + "/" + c.Database + "?sslmode=disable"
	smtptest.WaitFor(t, "the pooler listens", func() bool {
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return false
		}
		c.Close(context.Background())
		return true
	})
	return url
}

// TestIdle: a member that watches and does nothing asks little: at most 1.5 statements a second, so that with
// the suppression list there are 2.
func TestIdle(t *testing.T) {
	server := postgrestest.New(t, postgrestest.Options{NoSync: true,
		Settings: []string{"shared_preload_libraries = 'pg_stat_statements'"}})
	server.MustExec(t, "CREATE EXTENSION pg_stat_statements")
	o := options(server.URL("postgres"))
	o.Heartbeat = 5 * time.Second
	defer join(t, o).Watch("", func(relay.BoardEntry) {})()
	count := func() (n int) {
		fmt.Sscan(server.MustExec(t, "SELECT sum(calls) FROM pg_stat_statements"), &n)
		return n
	}
	before, begun := count(), time.Now()
	smtptest.WaitFor(t, "some looks at the board", func() bool { return time.Since(begun) > 8*watchEvery })
	n := count() - before
	if most := 1.5*time.Since(begun).Seconds() + 2; float64(n) > most || n < 3 {
		t.Errorf("%d statements in %v", n, time.Since(begun))
	}
	t.Logf("%.2f statements a second", float64(n)/time.Since(begun).Seconds())
}

// TestGivenUp: what was given up because a process of the server stood still is not done when it goes on.
func TestGivenUp(t *testing.T) {
	server := postgrestest.New(t, postgrestest.Options{NoSync: true})
	o := options(server.URL("postgres"))
	o.Timeout, o.Connections, o.Heartbeat, o.DeadAfter = time.Second, 1, time.Hour, 2*time.Hour
	c := join(t, o)
	const backend = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE application_name = 'mailwhy'"
	var pid int
	if _, err := fmt.Sscan(server.MustExec(t, backend), &pid); err != nil || pid == 0 {
		t.Fatal(pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, _, errWrite := c.Write(t.Context(), "n", relay.AnyVersion, []byte("given up"), 0)
	if !errors.Is(errWrite, errSlow) {
		t.Errorf("a process that stands still: %v", errWrite)
	}
	if _, ok, err := c.Write(t.Context(), "n", relay.AnyVersion, []byte("later"), 0); !ok || err != nil {
		t.Errorf("a later entry: %v, %v", ok, err) // at once, on another connection
	}
	syscall.Kill(pid, syscall.SIGCONT)
	smtptest.WaitFor(t, "the process to be done with it", func() bool {
		return server.MustExec(t, fmt.Sprint("SELECT count(*) FROM pg_stat_activity WHERE pid = ", pid,
			" AND (state = 'active' OR query NOT LIKE '%mail.board%')")) == "0"
	})
	if e, err := c.Read(t.Context(), "n"); string(e.Body) != "later" || err != nil {
		t.Errorf("in force is %q, %v", e.Body, err)
	}
}
