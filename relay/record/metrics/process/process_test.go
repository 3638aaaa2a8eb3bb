package process_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/record/metrics/exposition"
	"mailwhy/relay/record/metrics/metricstest"
	"mailwhy/relay/record/metrics/process"
)

// read is what a scrape reads of this process.
func read(t *testing.T) metricstest.Page {
	t.Helper()
	var b strings.Builder
	exposition.Gather([]exposition.Collector{process.New(), process.NewRuntime()}).WriteTo(&b)
	page, err := metricstest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// TestProcess: the figures are those of this process: what it has just used and opened shows.
func TestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	before := read(t)
	var files []*os.File
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	memory := make([]byte, 32<<20)
	for i := range memory {
		memory[i] = byte(i)
	}
	after := read(t)
	for _, f := range files {
		f.Close()
	}
	runtime.KeepAlive(memory)
	if more := after["process_open_fds"] - before["process_open_fds"]; more != 10 {
		t.Errorf("%v more files are open, not 10", more)
	}
	// Other memory may have gone back meanwhile.
	const resident = "process_resident_memory_bytes"
	if more := after[resident] - before[resident]; more < 16<<20 {
		t.Errorf("%v bytes more are resident, of %d", more, len(memory))
	}
	if after["process_cpu_seconds_total"] <= 0 || after["process_max_fds"] < after["process_open_fds"] ||
		after["process_virtual_memory_bytes"] < after["process_resident_memory_bytes"] ||
		after["process_virtual_memory_max_bytes"] <= 0 {
		t.Errorf("no such process: %v", after)
	}
	// The system's clock and the time since the boot may differ by what the clock was set.
	age := time.Since(time.Unix(int64(after["process_start_time_seconds"]), 0))
	if age < -time.Minute || age > 2*time.Hour {
		t.Errorf("the process is %v old", age)
	}
}

// TestRuntime: the figures of the runtime follow what the program does.
func TestRuntime(t *testing.T) {
	before := read(t)
	runtime.GC()
	after := read(t)
	for _, name := range []string{"go_gc_duration_seconds_count", "go_memstats_alloc_bytes_total",
		"go_memstats_mallocs_total", "go_memstats_last_gc_time_seconds"} {
		if after[name] <= before[name] {
			t.Errorf("%s did not grow from %v: %v", name, before[name], after[name])
		}
	}
	for name, value := range after {
		if strings.HasPrefix(name, "go_") && value < 0 {
			t.Errorf("%s is %v", name, value)
		}
	}
	after.Expect(t, map[string]float64{
		`go_info{version="` + runtime.Version() + `"}`: 1,
		"go_sched_gomaxprocs_threads":                  float64(runtime.GOMAXPROCS(0)),
	})
}
