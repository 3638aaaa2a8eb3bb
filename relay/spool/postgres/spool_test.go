package postgres

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
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

// TestPooler: where a pooler gives each transaction another connection there are no prepared statements.
func TestPooler(t *testing.T) {
	spooltest.RunShared(t, func(t *testing.T) spooltest.Store {
		o := testOptions(t, postgrestest.Database(t)+"&default_query_exec_mode=exec")
		o.Heartbeat, o.DeadAfter = 300*time.Millisecond, 3*time.Second
		return sharedStore(o)
	})
}

// TestReader: the spool can be read without taking part in it, once there is one.
func TestReader(t *testing.T) {
	o := testOptions(t, postgrestest.Database(t))
	_, errEarly := OpenReader(t.Context(), o)
	if errEarly == nil || !strings.Contains(errEarly.Error(), "no relay has used it") {
		t.Errorf("without tables: %v", errEarly)
	}
	s := openTest(t, o)
	id, err := putOne(s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var found []string
	err = r.List(t.Context(), relay.QueueFilter{IDs: []string{id}}, func(m *relay.Message) bool {
		found = append(found, m.ID)
		return true
	})
	st, errStat := r.Stat(t.Context())
	if err != nil || errStat != nil || len(found) != 1 || found[0] != id || st.Messages != 1 {
		t.Errorf("listed %v, %+v, %v", found, st, errors.Join(err, errStat))
	}
}

// TestTakeoverOfMany: what a process had leased when it died is the others' soon, however much it is.
func TestTakeoverOfMany(t *testing.T) {
	o := testOptions(t, postgrestest.Database(t))
	o.Heartbeat, o.DeadAfter = 500*time.Millisecond, 2*time.Second
	one, two := openTest(t, o), openTest(t, o)
	const many = 3000
	var putters sync.WaitGroup
	for range 50 {
		putters.Go(func() {
			for range many / 50 {
				if _, err := putOne(one); err != nil {
					t.Error(err)
				}
			}
		})
	}
	putters.Wait()
	if ls, err := leaseAll(one, many); err != nil || len(ls) != many {
		t.Fatalf("%d leases, %v", len(ls), err)
	}
	one.silence()
	begin := time.Now()
	smtptest.WaitFor(t, "the other process to take over", func() bool {
		st, err := two.Stat(t.Context())
		return err == nil && st.Messages == many && st.Leased == 0
	})
	t.Logf("all is free %v after the last heartbeat", time.Since(begin).Round(10*time.Millisecond))
}
