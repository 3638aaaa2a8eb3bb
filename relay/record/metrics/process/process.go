// Package process tells a scrape how the process and the Go runtime stand, under the names that Prometheus's
// own client libraries use, so that ready-made dashboards and alerts fit.
//
// What a system does not tell is left out: without /proc that is all but the CPU time and the limit of open
// files.
package process

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mailwhy/relay/record/metrics/exposition"
)

// ticks is how many of them are a second where Linux counts in them: its USER_HZ, on all that Go runs on.
const ticks = 100

// Process tells of the process. Its Collect is safe for concurrent use.
type Process struct {
	cpu, files, mostFiles, virtual, mostVirtual, resident, started *exposition.Family
}

// New makes a Process.
func New() *Process {
	gauge := exposition.NewGauge
	return &Process{
		cpu: exposition.NewCounter("process_cpu_seconds_total",
			"User and system CPU time spent, in seconds."),
		files:       gauge("process_open_fds", "Open file descriptors."),
		mostFiles:   gauge("process_max_fds", "Most file descriptors that may be open."),
		virtual:     gauge("process_virtual_memory_bytes", "Virtual memory, in bytes."),
		mostVirtual: gauge("process_virtual_memory_max_bytes", "Most virtual memory allowed, in bytes."),
		resident:    gauge("process_resident_memory_bytes", "Resident memory, in bytes."),
		started:     gauge("process_start_time_seconds", "When the process started, in Unix seconds."),
	}
}

// Collect implements exposition.Collector.
func (c *Process) Collect(p *exposition.Page) {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil {
		p.Add(c.cpu, seconds(used.Utime)+seconds(used.Stime))
	}
	addLimit(p, c.mostFiles, unix.RLIMIT_NOFILE)
	addLimit(p, c.mostVirtual, unix.RLIMIT_AS)
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.Add(c.files, float64(len(open)-1)) // one of them is the directory
	}
	if fields := statm(); len(fields) > 1 {
		page := float64(os.Getpagesize())
		p.Add(c.virtual, fields[0]*page)
		p.Add(c.resident, fields[1]*page)
	}
	if at, ok := startTime(); ok {
		p.Add(c.started, at)
	}
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// addLimit adds a limit of the process; that there is none is infinity.
func addLimit(p *exposition.Page, f *exposition.Family, resource int) {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil {
		return
	}
	most := float64(l.Cur)
	if l.Cur == unix.RLIM_INFINITY {
		most = math.Inf(1)
	}
	p.Add(f, most)
}

// statm is how many pages the process has, and how many of them are resident (proc_pid_statm(5)).
func statm() []float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return nil
	}
	return numbers(strings.Fields(string(b)))
}

// startTime is when the process started, in Unix seconds: field 22 of proc_pid_stat(5) is the time since the
// boot, which proc_stat(5) tells. The second field, the command in brackets, may hold anything.
func startTime() (float64, bool) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	all, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(own[bytes.LastIndexByte(own, ')')+1:]))
	_, boot, ok := strings.Cut(string(all), "\nbtime ")
	if !ok || len(fields) < 20 {
		return 0, false
	}
	boot, _, _ = strings.Cut(boot, "\n")
	n := numbers([]string{fields[19], boot})
	return n[0]/ticks + n[1], true
}

// numbers reads decimal numbers; what is none is 0.
func numbers(from []string) (list []float64) {
	for _, s := range from {
		n, _ := strconv.ParseFloat(s, 64)
		list = append(list, n)
	}
	return list
}
