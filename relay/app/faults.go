package app

import (
	"slices"
	"sync"
)

// faults are the reasons why a running relay does not do all of its work. Safe for concurrent use.
type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, s)
}

func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}
