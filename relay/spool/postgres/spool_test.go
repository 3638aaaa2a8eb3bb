package postgres

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/spool/spooltest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m)) }

// testOptions are those of a test; one copy is enough.
func testOptions(t testing.TB, url string) Options {
	return Options{
		URL: url, Name: "mailwhy", Single: true, CommitTimeout: 10 * time.Second, Connections: 5,
		Heartbeat: 500 * time.Millisecond, DeadAfter: 10 * time.Second, Memory: 4 << 20, Host: "test",
		Version: "test", Now: time.Now, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
}

// testWriter writes a log to a test's output.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func TestConformance(t *testing.T) {
	spooltest.Run(t, func(t *testing.T) spooltest.Store { return testStore(t) })
}

// testStore is a spool for the conformance suite.
func testStore(t *testing.T) spooltest.Store {
	return sharedStore(testOptions(t, postgrestest.Database(t)))
}

func sharedStore(o Options) spooltest.Store {
	return spooltest.Store{
		Open:   func() (relay.Spool, error) { return Open(context.Background(), o) },
		Shared: true,
		Crash:  func(s relay.Spool) { s.(*Spool).silence() },
	}
}

func TestShared(t *testing.T) {
	spooltest.RunShared(t, func(t *testing.T) spooltest.Store {
		o := testOptions(t, postgrestest.Database(t))
		o.Heartbeat, o.DeadAfter = 300*time.Millisecond, 3*time.Second
		return sharedStore(o)
	})
}

// silence stops the heartbeat, and nothing else.
func (s *Spool) silence() {
	s.stop()
	s.work.Wait()
}
