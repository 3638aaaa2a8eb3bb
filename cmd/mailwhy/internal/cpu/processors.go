// Package cpu suits the process to a relay that waits most of its time: it runs on one processor while
// there is one thing to do (Follow), and lets the kernel wake it a little late (RelaxTimers). serve uses
// both; docs/performance.md has the measurements.
//
// What always holds: it changes how much CPU time the relay takes, never what the relay does. Where the
// operating system does not allow a change the process goes on without it. MAILWHY_CPU_TUNING=off turns all
// of it off, and a GOMAXPROCS in the environment leaves the number of processors alone.
package cpu

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Switch is the environment variable that turns this package off when it is "off".
const Switch = "MAILWHY_CPU_TUNING"

// off reports whether the operator turned this package off.
func off() bool { return os.Getenv(Switch) == "off" }

const (
	lookEvery  = 100 * time.Millisecond
	quietLooks = 2   // in a row make a quiet relay
	fullAt     = 0.8 // of one processor in use: a second one may have work too
)

// Follow has the process run on one processor while busy reports that there is at most one thing to do, and
// otherwise on as many as Go finds: those of the machine or of the container's limit. It returns when ctx
// ends, with Go's own number in force.
//
// For a single client there is only ever one thing to do, handed from one goroutine to the next; with a
// second processor each hand-over wakes a thread there that finds nothing: a tenth of the CPU time and
// more. For several clients more processors are faster, most of all on a slow disk, whose syncs each hold
// one for a while. So the first sign of more is enough to have them all back.
func Follow(ctx context.Context, busy func() bool) { newProcessors(busy).run(ctx) }

// processors decides on how many processors the process runs.
type processors struct {
	busy func() bool          // there is more than one thing to do
	used func() time.Duration // CPU time of the process
	set  func(one bool)

	one   bool // as last set
	quiet int  // looks in a row
	then  time.Time
	spent time.Duration // CPU time at then
}

// newProcessors sets the runtime's number of processors.
func newProcessors(busy func() bool) *processors {
	return &processors{busy: busy, used: cpuTime, set: func(one bool) {
		if one {
			runtime.GOMAXPROCS(1)
		} else {
			runtime.SetDefaultGOMAXPROCS() // also has it follow the container's limit again
		}
	}}
}

// run looks until ctx ends. A number that the environment gives is left alone.
func (p *processors) run(ctx context.Context) {
	if off() || os.Getenv("GOMAXPROCS") != "" {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.one {
				p.set(false)
			}
			return
		case <-tick.C:
			p.look(time.Now())
		}
	}
}

// look decides again.
func (p *processors) look(now time.Time) {
	spent := p.used()
	full := float64(spent-p.spent) > fullAt*float64(now.Sub(p.then))
	p.then, p.spent = now, spent
	p.quiet++
	if full || p.busy() {
		p.quiet = 0
	}
	if one := p.quiet >= quietLooks; one != p.one {
		p.one = one
		p.set(one)
	}
}

// cpuTime is the CPU time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
