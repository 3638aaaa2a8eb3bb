package cpu

import (
	"context"
	"runtime"
	"testing"
	"time"
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

// TestProcessorsOfEnvironment shows that a number that the operator gave stays, and that all can be turned
// off.
func TestProcessorsOfEnvironment(t *testing.T) {
	for name, value := range map[string]string{"GOMAXPROCS": "2", Switch: "off"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", "")
			t.Setenv(name, value)
			p := &processors{set: func(bool) {
				t.Errorf("%s=%s, and the number of processors was changed",
					name, value)
			}}
			p.run(t.Context()) // returns
		})
	}
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
