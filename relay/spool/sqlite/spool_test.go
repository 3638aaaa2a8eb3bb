package sqlite

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/spooltest"
)

// openTest opens a spool in dir for a test.
func openTest(t testing.TB, o Options) *Spool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testWriter writes a log to a test's output.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func TestConformance(t *testing.T) {
	spooltest.Run(t, func(t *testing.T) spooltest.Store { return testStore(t, Limits{}) })
}

// testStore is a spool for the conformance suite.
func testStore(t *testing.T, l Limits) spooltest.Store {
	o := Options{Dir: t.TempDir(), Limits: l, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
	return spooltest.Store{Open: func() (relay.Spool, error) { return Open(o) }}
}

// dueReports looks at the messages that have a notice due, which stays so.
func dueReports(t testing.TB, s *Spool, now time.Time) []relay.Claim {
	t.Helper()
	due, _, err := s.Claim(t.Context(), relay.ClaimQuery{
		Topic: relay.TopicReport, Now: now, Max: 10, For: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range due {
		s.GiveBack(due[i].Token)
		for j := range due[i].Entries {
			due[i].Entries[j].Claim = ""
		}
	}
	return due
}

// answer answers entries with a report.
func answer(report *relay.Message, content string, entries ...relay.Entry) relay.Answer {
	return relay.Answer{
		Entries: entries, Messages: []*relay.Message{report}, Content: strings.NewReader(content),
	}
}
