package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	lookEvery  = 100 * time.Millisecond
	quietLooks = 2   // in a row make a quiet relay
	fullAt     = 0.8 // of one processor in use: a second one may have work too
)

// processors has the relay run on one processor while it is quiet, and else on as many as Go finds: those of the machine or of the
// container's limit.
//
// For a single client there is only ever one thing to do, handed from one goroutine to the next; with a second processor each hand-over
// wakes a thread there that finds nothing: a tenth of the CPU time and more (docs/performance.md). For several clients more processors are
// faster, most of all on a slow disk, whose syncs each hold one for a while. So the first sign of more is enough to have them all
// back.
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
	if os.Getenv("GOMAXPROCS") != "" {
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

// look decides anew.
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
