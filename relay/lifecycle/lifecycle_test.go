package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay"
)

// spool is a spool whose answers a test chooses.
type spool struct {
	stat, admit error
	hang        chan struct{} // Stat waits until it is closed; nil: it does not
	asked       atomic.Int32
}

func (s *spool) Stat(context.Context) (relay.SpoolStat, error) {
	s.asked.Add(1)
	if s.hang != nil {
		<-s.hang
	}
	return relay.SpoolStat{Messages: 3}, s.stat
}

func (s *spool) Admit() error { return s.admit }

// probe asks one path.
func probe(t *testing.T, l *Life, path string) (status int, p Probe) {
	t.Helper()
	mux := http.NewServeMux()
	l.Handle(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%s: %v: %s", path, err, w.Body)
	}
	return w.Code, p
}

func TestProbes(t *testing.T) {
	full := fmt.Errorf("%w: 12 bytes are free on its disk", relay.ErrFull)
	broken := fmt.Errorf("%w: input/output error", relay.ErrUnavailable)
	for _, tt := range []struct {
		phase       Phase
		stat, admit error
		live, ready string // what the reason has; "" for a probe that succeeds
	}{
		{phase: Starting, ready: "starting"},
		{phase: Running},
		{phase: Running, admit: full, ready: "12 bytes are free"},
		{phase: Running, stat: full, admit: full, ready: "takes no mail"},
		{phase: Running, stat: broken, admit: broken, live: "input/output", ready: "input/output"},
		{phase: Stopping, ready: "stopping"},
		{phase: Draining, ready: "draining"},
		{phase: Draining, stat: broken, live: "input/output", ready: "draining"},
	} {
		l := New(&spool{stat: tt.stat, admit: tt.admit})
		l.Enter(tt.phase)
		for path, want := range map[string]string{LivePath: tt.live, ReadyPath: tt.ready} {
			status, p := probe(t, l, path)
			said := strings.Join(p.Reasons, "; ")
			if p.OK != (want == "") || p.OK != (status == http.StatusOK) ||
				!strings.Contains(said, want) || p.Phase != tt.phase {
				t.Errorf("%s with %+v: %d %+v", path, tt, status, p)
			}
		}
	}
}

// TestRemote: a relay whose spool is on other machines lives without it, and is not ready.
func TestRemote(t *testing.T) {
	l := NewRemote(&spool{stat: errors.New("connection refused")})
	l.Enter(Running)
	if status, p := probe(t, l, LivePath); status != http.StatusOK {
		t.Errorf("%s: %d %+v", LivePath, status, p)
	}
	if status, p := probe(t, l, ReadyPath); status == http.StatusOK {
		t.Errorf("%s: %d %+v", ReadyPath, status, p)
	}
}

// TestPhasesGoOn: what is stopping does not become ready again.
func TestPhasesGoOn(t *testing.T) {
	l := New(&spool{})
	for _, p := range []Phase{Running, Stopping, Draining} {
		l.Enter(p)
		for _, earlier := range []Phase{Starting, Running} {
			l.Enter(earlier)
		}
		if l.Phase() != p {
			t.Errorf("after %s it is %s", p, l.Phase())
		}
	}
}

// TestSpoolHangs: who asks is answered, with one question to the spool, however many ask.
func TestSpoolHangs(t *testing.T) {
	s := &spool{hang: make(chan struct{})}
	l := New(s)
	l.Enter(Running)
	ended, end := context.WithCancel(t.Context())
	end()
	for range 5 {
		if err := l.Live(ended); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("a spool that hangs: %v", err)
		}
	}
	close(s.hang)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Live(ctx); err != nil {
		t.Errorf("the spool goes on: %v", err)
	}
	if n := s.asked.Load(); n > 2 {
		t.Errorf("the spool was asked %d times", n)
	}
}
