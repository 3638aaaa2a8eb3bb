package main

import (
	"context"
	"io"
	"net"
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

// TestProcessorsOfRuntime shows that the runtime's own number comes back, at the end too.
func TestProcessorsOfRuntime(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	runtime.SetDefaultGOMAXPROCS()
	own := runtime.GOMAXPROCS(0)
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
	t.Setenv("GOMAXPROCS", "")
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

// TestServeOnProcessors shows that a relay that is served runs on one processor until a second client is there.
func TestServeOnProcessors(t *testing.T) {
	was := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	runtime.SetDefaultGOMAXPROCS()
	own := runtime.GOMAXPROCS(0)
	if own == 1 {
		t.Skip("there is one processor only")
	}
	t.Setenv("GOMAXPROCS", "")
	dir := t.TempDir()
	socket := filepath.Join(dir, "smtp")
	src := config.Source{}
	for key, value := range map[string]string{
		"listen": "unix:" + socket, "upstream": "smtp://127.0.0.1:9?tls=none", "spool.dir": filepath.Join(dir, "spool"),
		"delivery_log.file": filepath.Join(dir, "log"),
	} {
		src.Flags = append(src.Flags, config.Flag{Name: key, Key: key, Value: value})
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serve(ctx, src, io.Discard, io.Discard) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, step := range []struct {
		clients, want int
	}{{0, 1}, {1, 1}, {1, own}} {
		for range step.clients {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		deadline := time.Now().Add(30 * time.Second)
		for runtime.GOMAXPROCS(0) != step.want {
			if time.Now().After(deadline) {
				t.Fatalf("%+v: %d processors", step, runtime.GOMAXPROCS(0))
			}
			time.Sleep(lookEvery / 10)
		}
	}
}
