package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Entry is one line of the process table.
type Entry struct {
	PID, Parent int
	CPU         time.Duration // its own, and that of children it has waited for
	RSS         int64         // bytes
}

// Tree is a process and all its descendants, parents first.
func Tree(root int) []Entry {
	children := make(map[int][]Entry)
	var all []Entry
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		e, ok := readStat(name)
		if !ok {
			continue
		}
		if e.PID == root {
			all = append(all, e)
		}
		children[e.Parent] = append(children[e.Parent], e)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].PID]...)
	}
	return all
}

// readStat reads /proc/PID/stat; see proc(5).
func readStat(name string) (e Entry, ok bool) {
	b, err := os.ReadFile(name)
	end := bytes.LastIndexByte(b, ')') // the command's name may hold anything
	if err != nil || end < 0 {
		return Entry{}, false
	}
	e.PID, _ = strconv.Atoi(string(b[:bytes.IndexByte(b, ' ')]))
	f := strings.Fields(string(b[end+1:])) // f[0] is field 3, the state
	if len(f) < 22 {
		return Entry{}, false
	}
	e.Parent, _ = strconv.Atoi(f[1])
	for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(ticks, 10, 64)
		e.CPU += time.Duration(n) * clockTick
	}
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	e.RSS = pages * int64(os.Getpagesize())
	return e, true
}

// Usage is the sum over a process and its descendants.
func Usage(root int) (cpu time.Duration, rss int64) {
	for _, e := range Tree(root) {
		cpu += e.CPU
		rss += e.RSS
	}
	return cpu, rss
}

// PeakMemory is the largest resident set that the process has had, in bytes; 0 when it cannot be read.
func (p *Process) PeakMemory() int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}

// OpenFiles is how many file descriptors the process has open; 0 when they cannot be read.
func (p *Process) OpenFiles() int {
	d, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	return len(d)
}

// Watcher samples something again and again until it is ended.
type Watcher struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// Watch calls look at once and then at each interval, in a goroutine of its own.
func Watch(interval time.Duration, look func()) *Watcher {
	w := &Watcher{stop: make(chan struct{})}
	w.wg.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			look()
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// End stops the Watcher. look is not called any more once it returns.
func (w *Watcher) End() {
	close(w.stop)
	w.wg.Wait()
}
