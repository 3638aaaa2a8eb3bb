package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay"
	"mailwhy/relay/lifecycle"
)

// spool is a spool that answers, unless it is broken.
type spool struct{ broken atomic.Bool }

func (s *spool) Stat(context.Context) (relay.SpoolStat, error) {
	if s.broken.Load() {
		return relay.SpoolStat{}, relay.ErrUnavailable
	}
	return relay.SpoolStat{Messages: 7, Leased: 2}, nil
}

func (s *spool) Admit() error { return nil }

// manager is the service manager's end: a unix datagram socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// newManager listens where the process is told to send to.
func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", at.Name)
	return &manager{t, conn}
}

// next is the next datagram that has a line beginning with word; others are passed over.
func (m *manager) next(word string) string {
	m.t.Helper()
	var seen []string
	b := make([]byte, 4096)
	for {
		m.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("no datagram with %s: %v; there were %q", word, err, seen)
		}
		got := string(b[:n])
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, word) {
				return got
			}
		}
		seen = append(seen, got)
	}
}

// relayOf runs a Notifier as serve does; stop has it tell that the relay stops, and end waits for its end.
func relayOf(t *testing.T, s *spool) (n *Notifier, life *lifecycle.Life, ready, stop func()) {
	life = lifecycle.New(s)
	n = New(life, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	up, down := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx, up, down) })
	t.Cleanup(func() { cancel(); running.Wait() })
	ready = func() { life.Enter(lifecycle.Running); close(up) }
	return n, life, ready, func() { life.Enter(lifecycle.Stopping); close(down) }
}

func TestLifeIsTold(t *testing.T) {
	m := newManager(t)
	n, life, ready, stop := relayOf(t, &spool{})
	if got := m.next("STATUS="); got != "STATUS=starting" {
		t.Errorf("the first datagram is %q", got)
	}
	n.Reloading()(nil) // before it serves: that makes it no readier
	m.next("RELOADING=1")
	ready()
	if got := m.next("READY=1"); got != "READY=1" {
		t.Errorf("ready: %q", got)
	}
	if got := m.next("STATUS="); got != "STATUS=running: 7 messages in the spool, 2 on their way" {
		t.Errorf("the status is %q", got)
	}
	before := monotonic(t)
	done := n.Reloading()
	got := m.next("RELOADING=1")
	at := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=([0-9]+)$`).FindStringSubmatch(got)
	if at == nil {
		t.Fatalf("a reload must be told in one datagram: %q", got)
	}
	if usec, _ := strconv.ParseInt(at[1], 10, 64); usec < before || usec > monotonic(t) {
		t.Errorf("MONOTONIC_USEC is %d, and it was %d before", usec, before)
	}
	done(errors.New("relay.toml: bad\nand worse"))
	if got := m.next("READY=1"); got != "READY=1\nSTATUS=not reloaded: relay.toml: bad" {
		t.Errorf("after a reload that failed: %q", got)
	}
	life.Enter(lifecycle.Draining)
	stop()
	m.next("STOPPING=1")
	if got := m.next("EXTEND_TIMEOUT_USEC="); got !=
		"STATUS=draining: 7 messages in the spool, 2 on their way\nEXTEND_TIMEOUT_USEC=20000000" {
		t.Errorf("while it stops: %q", got)
	}
}

// monotonic is CLOCK_MONOTONIC in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestWatchdog: there are signs of life as long as the spool gives one.
func TestWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "400000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	_, _, ready, _ := relayOf(t, &spool{})
	ready()
	m.next("WATCHDOG=1")
	m.next("WATCHDOG=1")
}

// TestBrokenSpool: a spool that does not answer gets no sign of life.
func TestBrokenSpool(t *testing.T) {
	m := newManager(t)
	s := &spool{}
	n := New(lifecycle.New(s), slog.New(slog.DiscardHandler))
	s.broken.Store(true)
	n.alive(t.Context(), time.Minute)
	s.broken.Store(false)
	n.send("END=1")
	n.alive(t.Context(), time.Minute)
	if got := m.next(""); got != "END=1" {
		t.Errorf("the first datagram is %q", got)
	}
	if got := m.next(""); got != "WATCHDOG=1" {
		t.Errorf("when it answers again: %q", got)
	}
}

// TestNobodyAsked: without the socket nothing runs.
func TestNobodyAsked(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := New(lifecycle.New(&spool{}), slog.New(slog.DiscardHandler))
	n.Run(t.Context(), nil, nil) // returns
	n.Reloading()(nil)
}
