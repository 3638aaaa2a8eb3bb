package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

// shell is a script as a Spec.
func shell(t *testing.T, script string) Spec {
	return Spec{Args: []string{"sh", "-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

// prints is a ready function: the log holds a word.
func prints(s Spec, word string) func() bool {
	return func() bool { return strings.Contains(Tail(s.Log), word) }
}

func TestStartAndStop(t *testing.T) {
	s := shell(t, `trap 'echo bye; kill $!; exit 0' TERM; sleep 60 & echo $HELLO; wait`)
	s.Env = []string{"HELLO=hello"}
	p, err := s.Start(t.Context(), 10*time.Second, prints(s, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Alive() || p.PeakMemory() <= 0 || p.OpenFiles() <= 0 {
		t.Errorf("alive %v, %d bytes, %d files", p.Alive(), p.PeakMemory(), p.OpenFiles())
	}
	if err := p.Freeze(); err != nil {
		t.Error(err)
	}
	p.Thaw()
	if _, err := p.Stop(10 * time.Second); err != nil || p.Alive() || !strings.Contains(p.Tail(), "bye") {
		t.Errorf("%v, alive %v, printed %q", err, p.Alive(), p.Tail())
	}
}

func TestStartSaysWhatWasPrinted(t *testing.T) {
	s := shell(t, "echo no such setting >&2; exit 2")
	if _, err := s.Start(
		t.Context(),
		10*time.Second,
		prints(s, "hello"),
	); err == nil ||
		!strings.Contains(err.Error(), "no such setting") {
		t.Errorf("%v", err)
	}
	s = shell(t, "echo waiting; exec sleep 60")
	if _, err := s.Start(
		t.Context(),
		300*time.Millisecond,
		func() bool { return false },
	); err == nil ||
		!strings.Contains(err.Error(), "waiting") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Start(ctx, time.Minute, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestStopOfABadEnd(t *testing.T) {
	s := shell(t, `trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done`)
	p, err := s.Start(t.Context(), 10*time.Second, prints(s, "up"))
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if _, err := p.Stop(10 * time.Second); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v", err)
	}
	s = shell(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	s.Group = true
	if p, err = s.Start(t.Context(), 10*time.Second, prints(s, "up")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stop(100 * time.Millisecond); !errors.Is(err, ErrStillRunning) || p.Alive() {
		t.Errorf("%v, alive %v", err, p.Alive())
	}
}

// TestStopUnderATracer: the program gets the SIGTERM, and what runs it ends afterwards.
func TestStopUnderATracer(t *testing.T) {
	s := Spec{
		Args: []string{"-c", `trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done`},
		// Stays the parent, and has a word to say at the end.
		Under: []string{"sh", "-c", `sh "$@"; echo counted`, "tracer"}, Traced: true,
		Log: filepath.Join(t.TempDir(), "log"),
	}
	p, err := s.Start(t.Context(), 10*time.Second, prints(s, "up"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stop(10 * time.Second); err != nil || !strings.Contains(p.Tail(), "counted") {
		t.Errorf("%v, printed %q", err, p.Tail())
	}
}

func TestGreets(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	if !Greets(s.Addr()) || !Listens(s.Addr()) {
		t.Error("a server is not seen")
	}
	s.Close()
	if Greets(s.Addr()) || Listens(s.Addr()) {
		t.Error("a server that is closed is seen")
	}
}

func TestUsageOfATree(t *testing.T) {
	s := shell(t, "sleep 60 & echo up; wait")
	s.Group = true
	p, err := s.Start(t.Context(), 10*time.Second, prints(s, "up"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	all := Tree(p.PID())
	for _, e := range all {
		if e.RSS <= 0 {
			t.Errorf("%+v", e)
		}
	}
	if len(all) != 2 || all[0].PID != p.PID() || all[1].Parent != all[0].PID {
		t.Errorf("got %+v", all)
	}
	for cpu := time.Duration(0); cpu < 30*time.Millisecond; { // ends only if our own work is seen
		var rss int64
		if cpu, rss = Usage(os.Getpid()); rss < 1<<20 {
			t.Fatalf("own memory: %d bytes", rss)
		}
	}
}

func TestWatch(t *testing.T) {
	var n atomic.Int64
	w := Watch(time.Millisecond, func() { n.Add(1) })
	for n.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	w.End()
	after := n.Load()
	time.Sleep(10 * time.Millisecond)
	if n.Load() != after {
		t.Error("it looks on after its end")
	}
}
