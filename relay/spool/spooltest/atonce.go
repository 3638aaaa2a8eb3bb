package spooltest

import (
	"sync"
	"sync/atomic"
)

// AtOnce runs f so many times in all, from n goroutines, and returns when the last has ended. It is for the
// benchmarks of engines.
func AtOnce(times, n int, f func()) {
	var left atomic.Int64
	left.Store(int64(times))
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				f()
			}
		})
	}
	wg.Wait()
}
