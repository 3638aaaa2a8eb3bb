package sqlite

import (
	"log/slog"
	"testing"

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
	spooltest.Run(t, func(t *testing.T) relay.Spool {
		s := openTest(t, Options{})
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return s
	})
}
