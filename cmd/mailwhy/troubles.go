package main

import (
	"slices"
	"sync"
)

// troubles are the faults because of which a running relay does not do all of its work. Safe for concurrent use.
type troubles struct {
	mu   sync.Mutex
	list []string
}

func (t *troubles) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, s)
}

func (t *troubles) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}
