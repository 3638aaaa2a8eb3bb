package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"mailwhy/config"
)

// TestProcessors shows when the relay runs on one processor.
func TestProcessors(t *testing.T) {
	var sets int
	var now time.Time
	var used, load time.Duration // load is CPU time a look
	var one, busy bool
	p := &processors{
		busy: func() bool { return busy },
		used: func() time.Duration { used += load; return used },
		set:  func(o bool) { one = o; sets++ },
	}
	after := func(looks int, want bool, why string) {
		t.Helper()
		for range looks {
			now = now.Add(lookEvery)
			p.look(now)
		}
		if one != want {
			t.Errorf("%s: on one processor: %v, want %v", why, one, want)
		}
	}
	after(quietLooks-1, false, "not yet quiet for long")
	after(1, true, "idle")
	load = 7 * lookEvery / 10
	after(50, true, "one client")
	busy = true
	after(1, false, "a second client")
	after(50, false, "two clients")
	busy = false
	after(quietLooks-1, false, "one client again")
	after(1, true, "one client for long enough")
	load = 9 * lookEvery / 10
	after(1, false, "nobody else, but a processor in full use")
	load = 0
	after(quietLooks, true, "idle again")
	if sets != 5 {
		t.Errorf("the number was set %d times, want 5: only a change may stop the world", sets)
	}
}

// TestProcessorsOfEnvironment shows that a number that the operator gave stays.
func TestProcessorsOfEnvironment(t *testing.T) {
	t.Setenv("GOMAXPROCS", "2")
	p := &processors{set: func(bool) { t.Error("GOMAXPROCS was set in the environment, and changed") }}
	p.run(t.Context()) // returns
}

// ownProcessors has the runtime choose their number, and returns it.
func ownProcessors(t *testing.T) int {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

// TestProcessorsOfRuntime shows that the runtime's own number comes back, at the end too.
func TestProcessorsOfRuntime(t *testing.T) {
	own := ownProcessors(t)
	p := newProcessors(nil)
	p.set(true)
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("on one processor it has %d", n)
	}
	p.set(false)
	if n := runtime.GOMAXPROCS(0); n != own {
		t.Errorf("after it %d, want %d", n, own)
	}
	p.set(true)
	p.one = true
	ended, end := context.WithCancel(t.Context())
	end()
	p.run(ended)
	if n := runtime.GOMAXPROCS(0); n != own {
		t.Errorf("when it has ended it leaves %d, want %d", n, own)
	}
	before := p.used()
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
	}
	if d := p.used() - before; d <= 0 || d > time.Minute {
		t.Errorf("20 ms of work used %v", d)
	}
}

// TestServeOnProcessors shows that serve runs on one processor until there is a second client, or mail that waits.
func TestServeOnProcessors(t *testing.T) {
	own := ownProcessors(t)
	if own == 1 {
		t.Skip("skipping: there is one processor only")
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // an upstream that never greets
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	dir := t.TempDir()
	socket := filepath.Join(dir, "smtp")
	src := config.Source{Flags: []config.Flag{
		{Name: "--listen", Key: "listen", Value: "unix:" + socket},
		{Name: "--spool", Key: "spool.dir", Value: filepath.Join(dir, "spool")},
		{Name: "--upstream", Key: "upstream", Value: "smtp://" + mute.Addr().String() + "?tls=none"},
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serve(ctx, src, io.Discard, io.Discard) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	awaitProcessors(t, "idle", 1)
	first := dialDoor(t, socket)
	time.Sleep(5 * lookEvery)
	awaitProcessors(t, "one client", 1)
	second := dialDoor(t, socket)
	awaitProcessors(t, "two clients", own)
	second.Close()
	awaitProcessors(t, "one client again", 1)
	for range 30 { // more than there are connections to the upstream
		sendThrough(t, first)
	}
	awaitProcessors(t, "mail that waits for a connection", own)
}

// awaitProcessors waits until the runtime has want processors.
func awaitProcessors(t *testing.T, when string, want int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d processors: %s", want, when), func() bool { return runtime.GOMAXPROCS(0) == want })
}

// dialDoor is a client of the front door at a unix socket.
func dialDoor(t *testing.T, socket string) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sendThrough hands a message in.
func sendThrough(t *testing.T, c *smtp.Client) {
	t.Helper()
	err := errors.Join(c.Mail("a@shop.example"), c.Rcpt("b@customer.example"))
	w, dataErr := c.Data()
	if err = errors.Join(err, dataErr); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, "Subject: x\r\n\r\nx\r\n")
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}
