package process

import (
	"runtime"
	"runtime/debug"
	"time"

	"mailwhy/relay/record/metrics/exposition"
)

// Runtime tells of the Go runtime. Its Collect is safe for concurrent use. It stops the program for some
// microseconds.
type Runtime struct {
	info, goroutines, processors, pauses *exposition.Family
	memory                               []figure
}

// figure is one of the runtime's figures on memory.
type figure struct {
	*exposition.Family
	of func(*runtime.MemStats) float64
}

// NewRuntime makes a Runtime.
func NewRuntime() *Runtime {
	gauge, counter := exposition.NewGauge, exposition.NewCounter
	memory := func(f *exposition.Family, of func(*runtime.MemStats) uint64) figure {
		return figure{f, func(m *runtime.MemStats) float64 { return float64(of(m)) }}
	}
	type stats = *runtime.MemStats
	const prefix = "go_memstats_"
	return &Runtime{
		info:       gauge("go_info", "The version of Go.", "version"),
		goroutines: gauge("go_goroutines", "Goroutines that there are."),
		processors: gauge("go_sched_gomaxprocs_threads", "Threads that run Go code at a time, at most."),
		pauses: &exposition.Family{Name: "go_gc_duration_seconds", Kind: exposition.SummaryKind,
			Help: "How long the program stood still for garbage collections."},
		memory: []figure{
			memory(counter(prefix+"alloc_bytes_total", "Bytes allocated in all."),
				func(m stats) uint64 { return m.TotalAlloc }),
			memory(counter(prefix+"mallocs_total", "Objects allocated in all."),
				func(m stats) uint64 { return m.Mallocs }),
			memory(counter(prefix+"frees_total", "Objects freed in all."),
				func(m stats) uint64 { return m.Frees }),
			memory(gauge(prefix+"alloc_bytes", "Bytes of the objects that there are."),
				func(m stats) uint64 { return m.Alloc }),
			memory(gauge(prefix+"sys_bytes", "Bytes obtained from the system."),
				func(m stats) uint64 { return m.Sys }),
			memory(gauge(prefix+"heap_alloc_bytes", "Bytes of the objects on the heap."),
				func(m stats) uint64 { return m.HeapAlloc }),
			memory(gauge(prefix+"heap_sys_bytes", "Bytes of the heap obtained from the system."),
				func(m stats) uint64 { return m.HeapSys }),
			memory(gauge(prefix+"heap_idle_bytes", "Bytes of the heap that wait to be used."),
				func(m stats) uint64 { return m.HeapIdle }),
			memory(gauge(prefix+"heap_inuse_bytes", "Bytes of the heap in use."),
				func(m stats) uint64 { return m.HeapInuse }),
			memory(gauge(prefix+"heap_released_bytes", "Bytes of the heap given back to the system."),
				func(m stats) uint64 { return m.HeapReleased }),
			memory(gauge(prefix+"heap_objects", "Objects on the heap."),
				func(m stats) uint64 { return m.HeapObjects }),
			memory(gauge(prefix+"stack_inuse_bytes", "Bytes of stacks in use."),
				func(m stats) uint64 { return m.StackInuse }),
			memory(gauge(prefix+"gc_sys_bytes", "Bytes that the garbage collector needs for itself."),
				func(m stats) uint64 { return m.GCSys }),
			memory(gauge(prefix+"next_gc_bytes", "Bytes of the heap at which the next collection begins."),
				func(m stats) uint64 { return m.NextGC }),
			{gauge(prefix+"last_gc_time_seconds", "When the last collection ended, in Unix seconds."),
				func(m stats) float64 { return float64(m.LastGC) / 1e9 }},
		},
	}
}

// Collect implements exposition.Collector.
func (c *Runtime) Collect(p *exposition.Page) {
	p.Add(c.info, 1, runtime.Version())
	p.Add(c.goroutines, float64(runtime.NumGoroutine()))
	p.Add(c.processors, float64(runtime.GOMAXPROCS(0)))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for _, f := range c.memory {
		p.Add(f.Family, f.of(&m))
	}
	gc := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&gc)
	quantiles := map[float64]float64{}
	for i, q := range gc.PauseQuantiles {
		quantiles[float64(i)/4] = q.Seconds()
	}
	p.AddSummary(c.pauses, gc.PauseTotal.Seconds(), uint64(gc.NumGC), quantiles)
}
