package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/process"
)

// Options say how a server runs.
type Options struct {
	NoSync   bool     // files are not synced: faster, and as good as long as the machine stays up
	Settings []string // further ones, as in postgresql.conf
}

// Server is a PostgreSQL server of a test. Its methods are for one goroutine.
type Server struct {
	programs programs
	dir      string // its files, its log and nothing else
	addr     string
	process  *process.Process
	spec     process.Spec
}

// startWithin is how long a server may take to start: long enough for a loaded machine.
const startWithin = 60 * time.Second

// New starts a server that ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	return keep(t)(start(install(t), o))
}

// Start is New for a program that is not a test, which calls Close at the end.
func Start(o Options) (*Server, error) {
	p, err := installed()
	if err != nil {
		return nil, err
	}
	return start(p, o)
}

// Standby starts a server that follows s, and has s wait for it at each commit. It ends with the test.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	return keep(t)(s.StartStandby())
}

// StartStandby is Standby for a program that is not a test, which calls Close at the end.
func (s *Server) StartStandby() (*Server, error) {
	standby, err := s.follow()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if err := s.waitFor(ctx); err != nil {
		standby.Close()
		return nil, err
	}
	return standby, nil
}

// waitFor has s wait at each commit for the standby that follows it.
func (s *Server) waitFor(ctx context.Context) error {
	for _, sql := range []string{
		"alter system set synchronous_standby_names = 'any 1 (standby)'", "select pg_reload_conf()",
	} {
		if _, err := s.Exec(ctx, sql); err != nil {
			return err
		}
	}
	for {
		n, err := s.Exec(ctx, "select count(*) from pg_stat_replication"+
			" where sync_state in ('sync', 'quorum') and state = 'streaming'")
		if err == nil && n == "1" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the standby is not synchronous: %w; %s", ctx.Err(), s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// keep ends a server with the test.
func keep(t testing.TB) func(*Server, error) *Server {
	return func(s *Server, err error) *Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
}

// start makes and starts a server.
func start(p programs, o Options) (*Server, error) {
	s, err := prepare(p)
	if err != nil {
		return nil, err
	}
	err = p.run(s.dir, "initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--locale=C", "--no-sync")
	if err == nil {
		err = s.configure(o)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// follow makes and starts a standby of s.
func (s *Server) follow() (*Server, error) {
	standby, err := prepare(s.programs)
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(s.addr)
	from := fmt.Sprintf("host=%s port=%s user=postgres application_name=standby", host, port)
	err = s.programs.run(standby.dir, "pg_basebackup", "-D", standby.data(), "-R", "-X", "stream", "-c",
		"fast", "--no-sync", "-d", from)
	if err == nil {
		err = standby.Start()
	}
	if err != nil {
		standby.Close()
		return nil, err
	}
	return standby, nil
}

// prepare makes the directory of a server and chooses its address.
func prepare(p programs) (*Server, error) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mailwhy-postgres-") // not the test's: that is for its own account only
	if err != nil {
		return nil, err
	}
	if p.as != nil {
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			os.Remove(dir)
			return nil, err
		}
	}
	return &Server{programs: p, dir: dir, addr: addr}, nil
}

// data is the directory of the database cluster.
func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// configure adds to the configuration that initdb made.
func (s *Server) configure(o Options) error {
	settings := append([]string{
		"max_connections = 200", "shared_buffers = 64MB", "max_wal_size = 512MB",
		"log_min_messages = warning", "wal_retrieve_retry_interval = 200ms", "unix_socket_directories = ''",
	}, o.Settings...)
	if o.NoSync {
		settings = append(settings, "fsync = off", "full_page_writes = off")
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// Start starts the server, if it was stopped or killed, and returns when it answers.
func (s *Server) Start() error {
	if s.alive() {
		return nil
	}
	host, port, _ := net.SplitHostPort(s.addr)
	s.spec = process.Spec{
		Args: []string{filepath.Join(s.programs.dir, "postgres"), "-D", s.data(), "-h", host, "-p", port},
		Dir:  s.dir, Env: environment, Log: filepath.Join(s.dir, "log"), As: s.programs.as,
	}
	p, err := s.spec.Start(context.Background(), startWithin, func() bool {
		_, err := s.Exec(context.Background(), "select 1")
		return err == nil
	})
	s.process = p
	return err
}

// alive reports whether the server runs.
func (s *Server) alive() bool { return s.process != nil && s.process.Alive() }

// Addr is the host and port of the server.
func (s *Server) Addr() string { return s.addr }

// Log is the end of the server's log.
func (s *Server) Log() string { return process.Tail(filepath.Join(s.dir, "log")) }

// Stop ends the server in order, without waiting for its clients.
func (s *Server) Stop() {
	if !s.alive() {
		return
	}
	s.signal(syscall.SIGCONT)
	s.process.Signal(syscall.SIGINT) // "fast shutdown"
	select {
	case <-s.process.Ended():
	case <-time.After(startWithin):
		s.Kill()
	}
}

// Kill is kill -9 of all of the server's processes.
func (s *Server) Kill() {
	if s.alive() {
		s.signal(syscall.SIGKILL)
		<-s.process.Ended()
	}
}

// Freeze stops all of the server's processes where they are. Connections stay open.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a server go on that was frozen.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// signal sends a signal to all of the server's processes: they are not one process group. The first of them
// gets it first, so that it starts no more.
func (s *Server) signal(sig syscall.Signal) {
	if !s.alive() {
		return
	}
	all := process.Tree(s.process.PID())
	for _, p := range all {
		syscall.Kill(p.PID, sig)
	}
}

// Promote makes a standby a server that can be written to, and that waits for no other.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.TakeOver(); err != nil {
		t.Fatal(err)
	}
}

// TakeOver is Promote for a program that is not a test.
func (s *Server) TakeOver() error {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	for _, sql := range []string{
		"alter system set synchronous_standby_names = ''", "select pg_reload_conf()",
	} {
		if _, err := s.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if ok, err := s.Exec(ctx, "select pg_promote(true, 60)"); err != nil || ok != "t" {
		return fmt.Errorf("the standby was not promoted: %w; %s", err, s.Log())
	}
	return nil
}

// Close ends the server and removes its files.
func (s *Server) Close() {
	s.Kill()
	os.RemoveAll(s.dir)
}
