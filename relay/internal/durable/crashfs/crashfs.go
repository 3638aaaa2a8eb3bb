// Package crashfs is a file system in memory for the tests of what writes to disk: its power can be cut after
// any operation, and any operation can be made to fail. It is as unkind as package durable says that a disk
// may be, so a writer that survives it on all seeds rests on no more than that page promises.
//
// # The model
//
//   - A file has what programs see, and what is on the disk: blocks of 4 KiB, and a length. A write changes
//     the former; from then on any of its blocks may reach the disk at any time, in any order, and the length
//     apart from them. Sync brings all of it to the disk.
//   - At the cut each block that differs is on the disk as it was, or as it should be, or some sectors of 512
//     bytes are the one and some the other. One that never was on the disk may hold what another file left
//     there.
//   - A directory has the names that programs see and those on the disk. Each change of a name reaches the
//     disk with a SyncDir of its directory; at the cut each of the others has reached it or has not. A rename
//     is one change, but between two directories the old name may be left beside the new one.
//   - A Sync that fails has written some blocks, left some for the next Sync, and dropped some: programs see
//     those as they should be, and no later Sync writes them. A SyncDir that fails drops changes likewise.
//   - A Write that fails has written a part. Other operations that fail have done nothing, but Close, which
//     has closed.
//
// Chance is seeded: the same seed and the same operations give the same disk. Modes are kept and not
// enforced; there are no links and no times.
package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"

	"mailwhy/relay/internal/durable"
)

// ErrPowerCut is what every operation returns once the power is cut.
var ErrPowerCut = errors.New("the power is cut")

// Op is a kind of operation, of FS or of an open file.
type Op string

// The operations. SyncData counts as Sync, ReadAt as Read and WriteAt as Write.
const (
	Open     Op = "open"
	Read     Op = "read"
	Write    Op = "write"
	Truncate Op = "truncate"
	Allocate Op = "allocate"
	Sync     Op = "sync"
	Close    Op = "close"
	Rename   Op = "rename"
	Remove   Op = "remove"
	Mkdir    Op = "mkdir"
	Stat     Op = "stat"
	ReadDir  Op = "readdir"
	SyncDir  Op = "syncdir"
)

// FS is the file system. It has an empty root directory at first.
type FS struct {
	mu      sync.Mutex
	rng     *rand.Rand
	haste   int // how many of a hundred blocks that differ reach the disk after each operation
	root    *node
	changes []*change // of names, that are not on the disk yet

	seed  uint64
	calls map[Op]int // "" counts all
	cut   int        // the power goes with the call after so many; negative: never
	fault fault
	off   bool   // the power is cut
	hit   string // the operation that met the cut or the fault
}

// fault is an operation that fails.
type fault struct {
	op  Op // "" is any
	nth int
	err error
}

var _ durable.FS = (*FS)(nil)

// New makes an empty file system.
func New(seed uint64) *FS {
	rng := rand.New(rand.NewPCG(seed, 0))
	return &FS{rng: rng, haste: []int{0, 10, 50}[rng.IntN(3)], root: newDir(), seed: seed, cut: -1}
}

// CutAfter cuts the power after n more operations have been done. It takes the place of an earlier Fail.
func (f *FS) CutAfter(n int) { f.ask(n, fault{}) }

// Fail has the n-th of the following operations of a kind fail with err, once; the first is 1. The kind ""
// is any. It takes the place of an earlier CutAfter or Fail.
func (f *FS) Fail(op Op, n int, err error) { f.ask(-1, fault{op, n, err}) }

// ask sets what is to happen, and counts operations anew.
func (f *FS) ask(cut int, what fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.cut, f.fault, f.hit = nil, cut, what, ""
}

// Heal has no later operation meet a cut or a fault.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.fault.nth = -1, 0
}

// Hit reports whether the cut or the fault that was asked for has met an operation.
func (f *FS) Hit() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit != ""
}

// String says what was asked for, to name a case that went wrong.
func (f *FS) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := fmt.Sprintf("seed %d", f.seed)
	switch {
	case f.hit == "":
		return s + ", nothing failed"
	case f.fault.err != nil:
		return fmt.Sprintf("%s, %v at %s", s, f.fault.err, f.hit)
	}
	return s + ", power cut before " + f.hit
}

// Crash cuts the power and returns the file system as the disk has it. Nothing is left open.
func (f *FS) Crash() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	for _, c := range f.changes {
		c.crash(f.rng)
	}
	after := New(f.seed)
	after.rng = f.rng
	after.root = f.root.crash(f.rng, map[*node]*node{})
	return after
}

// begin counts an operation on a path, and returns the error that it is to fail with.
func (f *FS) begin(op Op, path string) error {
	if f.off {
		return pathError(op, path, ErrPowerCut)
	}
	if f.calls == nil {
		f.calls = make(map[Op]int)
	}
	if f.cut >= 0 && f.calls[""] == f.cut {
		f.off = true
		f.hit = fmt.Sprintf("operation %d, %s %s", f.cut+1, op, path)
		return pathError(op, path, ErrPowerCut)
	}
	f.calls[op]++
	f.calls[""]++
	if f.fault.nth > 0 && (f.fault.op == "" || f.fault.op == op) && f.calls[f.fault.op] == f.fault.nth {
		f.hit = fmt.Sprintf("operation %d, %s %s", f.calls[""], op, path)
		return pathError(op, path, f.fault.err)
	}
	return nil
}

// pathError is the error of an operation, as package os gives it.
func pathError(op Op, path string, err error) error {
	return &fs.PathError{Op: string(op), Path: path, Err: err}
}
