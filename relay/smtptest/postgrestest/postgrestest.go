// Package postgrestest runs Debian's PostgreSQL on loopback, for tests and benchmarks of what stands on it:
// one server for a package whose tests want a database each, and servers of their own, with a synchronous
// standby if asked for, for tests that kill, freeze or promote them.
//
//	func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m)) }
//
//	func TestX(t *testing.T) { url := postgrestest.Database(t) ... }
//
// What always holds: a test is skipped, with the reason, where PostgreSQL is not installed; .ci/run takes
// that for a failure. Nothing is downloaded. A server listens on loopback only, keeps its files in a
// temporary directory, and ends with the test, with Run, or by the kernel with the process that started it,
// also if that panics. PostgreSQL refuses to run as root: there the account postgres or nobody runs it.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// shared is the server of this package's tests. There is one in a process, since starting one takes seconds.
var shared struct {
	mu     sync.Mutex
	server *Server
	n      int // databases made
}

// Run runs the tests of a package, and stops the server that they shared. It is called from TestMain.
func Run(m *testing.M) int {
	defer func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.server != nil {
			shared.server.Close()
			shared.server = nil
		}
	}()
	return m.Run()
}

// Shared is the server that all tests of a package have. It has no standby, and does not sync its files: it
// is for tests in which it does not end. The package needs a TestMain that calls Run.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		s, err := start(install(t), Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		shared.server = s
	}
	return shared.server
}

// Database makes an empty database on the shared server, and returns its URL. It is dropped when the test
// ends.
func Database(t testing.TB) string {
	t.Helper()
	return Shared(t).Database(t)
}

// Database makes an empty database, and returns its URL. It is dropped when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	shared.n++
	name := fmt.Sprintf("test_%d", shared.n)
	shared.mu.Unlock()
	// The files are copied rather than logged (PostgreSQL 15 and later): it takes half as long.
	s.MustExec(t, "create database "+name+" template template0 strategy file_copy")
	t.Cleanup(func() {
		if s.alive() {
			s.Exec(context.Background(), "drop database if exists "+name+" with (force)")
		}
	})
	return s.URL(name)
}

// URL is that of a database on the server. Where there are others, a client connects to the one among all of
// them that can be written to.
func (s *Server) URL(database string, others ...*Server) string {
	hosts, more := s.addr, ""
	for _, o := range others {
		hosts += "," + o.addr
		more = "&target_session_attrs=read-write"
	}
	return "postgres://postgres@" + hosts + "/" + database + "?sslmode=disable&connect_timeout=5" + more
}

// Exec runs a statement on the server, as its superuser. It returns the first column of the first row as
// text, "" if there is none.
func (s *Server) Exec(ctx context.Context, sql string) (first string, err error) {
	c, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	if last := results[len(results)-1]; len(last.Rows) > 0 {
		first = string(last.Rows[0][0])
	}
	return first, nil
}

// MustExec is Exec of a test that cannot go on after an error.
func (s *Server) MustExec(t testing.TB, sql string) (first string) {
	t.Helper()
	first, err := s.Exec(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// install finds PostgreSQL and an account for it.
func install(t testing.TB) programs {
	t.Helper()
	p, err := installed()
	if errors.Is(err, errMissing) {
		t.Skipf("skipping: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// errMissing is returned where PostgreSQL is not installed.
var errMissing = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// installed is PostgreSQL, and an account for it.
func installed() (programs, error) {
	p, ok := find()
	if !ok {
		return p, errMissing
	}
	if os.Getuid() != 0 {
		return p, nil
	}
	return p, p.drop()
}
