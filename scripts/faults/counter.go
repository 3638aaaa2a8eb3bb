package main

import "sync"

// counter counts by name. It is safe for concurrent use.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name] += n
}

// String is "3 fsync, 1 rename".
func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counted(c.n)
}
