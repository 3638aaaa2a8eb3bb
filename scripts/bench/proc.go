package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clockTick is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// process is one line of the process table.
type process struct {
	pid, parent int
	cpu         time.Duration // its own, and that of children it has waited for
	rss         int64         // bytes
}

// tree are a process and all its descendants.
func tree(root int) []process {
	children := make(map[int][]process)
	var all []process
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		p, ok := readStat(name)
		if !ok {
			continue
		}
		if p.pid == root {
			all = append(all, p)
		}
		children[p.parent] = append(children[p.parent], p)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

// readStat reads /proc/PID/stat; see proc(5).
func readStat(name string) (p process, ok bool) {
	b, err := os.ReadFile(name)
	end := bytes.LastIndexByte(b, ')') // the command's name may hold anything
	if err != nil || end < 0 {
		return process{}, false
	}
	p.pid, _ = strconv.Atoi(string(b[:bytes.IndexByte(b, ' ')]))
	f := strings.Fields(string(b[end+1:])) // f[0] is field 3, the state
	if len(f) < 22 {
		return process{}, false
	}
	p.parent, _ = strconv.Atoi(f[1])
	for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(ticks, 10, 64)
		p.cpu += time.Duration(n) * clockTick
	}
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	p.rss = pages * int64(os.Getpagesize())
	return p, true
}

// usage is the sum over a tree.
func usage(root int) (cpu time.Duration, rss int64) {
	for _, p := range tree(root) {
		cpu += p.cpu
		rss += p.rss
	}
	return cpu, rss
}

// watcher notes the peak of a tree's resident memory, sampled.
type watcher struct {
	stop chan struct{}
	wg   sync.WaitGroup
	peak int64
}

// watch starts a watcher. The process table is read rarely: it costs the relay's own processor.
func watch(root int) *watcher {
	w := &watcher{stop: make(chan struct{})}
	w.wg.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			_, rss := usage(root)
			w.peak = max(w.peak, rss)
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// end stops the watcher and returns the peak, bytes.
func (w *watcher) end() int64 {
	close(w.stop)
	w.wg.Wait()
	return w.peak
}
