package crashfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// node is a file or a directory.
type node struct {
	perm    fs.FileMode
	content *content         // nil for a directory
	names   map[string]*node // of a directory, as programs see it
	disk    map[string]*node // and on the disk
}

// newDir makes an empty directory.
func newDir() *node {
	return &node{perm: 0o755, names: make(map[string]*node), disk: make(map[string]*node)}
}

// isDir reports whether n is a directory.
func (n *node) isDir() bool { return n.content == nil }

// crash is the node as the disk has it. done holds those that were looked at.
func (n *node) crash(rng *rand.Rand, done map[*node]*node) *node {
	if after := done[n]; after != nil {
		return after
	}
	if !n.isDir() {
		after := &node{perm: n.perm, content: n.content.crash(rng)}
		done[n] = after
		return after
	}
	after := newDir()
	after.perm = n.perm
	done[n] = after
	for _, name := range slices.Sorted(maps.Keys(n.disk)) {
		child := n.disk[name].crash(rng, done)
		after.names[name], after.disk[name] = child, child
	}
	return after
}

// link is a name in a directory, and what it leads to; nil if it is removed.
type link struct {
	dir  *node
	name string
	to   *node
}

// apply changes a directory's names.
func (l link) apply(names map[string]*node) {
	if l.to == nil {
		delete(names, l.name)
		return
	}
	names[l.name] = l.to
}

// change is an atomic change of names: of one, or of two when a file is renamed, the new one first.
type change []link

// crash applies the change to the disk, or not: one between two directories perhaps by half.
func (c *change) crash(rng *rand.Rand) {
	links := *c
	switch rng.IntN(3) {
	case 0:
		return
	case 1:
		if links[0].dir != links[len(links)-1].dir {
			links = links[:1]
		}
	}
	for _, l := range links {
		l.apply(l.dir.disk)
	}
}

// sync applies to the disk what the change does to the names in some directories, and returns what is left
// of it, or nil.
func (c *change) sync(dirs map[*node]bool) (rest *change) {
	var left change
	for _, l := range *c {
		if dirs[l.dir] {
			l.apply(l.dir.disk)
		} else {
			left = append(left, l)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return &left
}

// withNew is a directory, and those into which files were renamed from it, from those, and so on: the old
// name of a file never goes before the new one is there.
func (f *FS) withNew(dir *node) map[*node]bool {
	dirs := map[*node]bool{dir: true}
	for n := 0; n < len(dirs); {
		n = len(dirs)
		for _, c := range f.changes {
			links := *c
			if dirs[links[len(links)-1].dir] {
				dirs[links[0].dir] = true
			}
		}
	}
	return dirs
}

// concerns reports whether the change is of names in dir.
func (c *change) concerns(dir *node) bool {
	return slices.ContainsFunc(*c, func(l link) bool { return l.dir == dir })
}

// commit makes a change that programs see and the disk does not have yet.
func (f *FS) commit(links ...link) {
	for _, l := range links {
		l.apply(l.dir.names)
	}
	c := change(links)
	f.changes = append(f.changes, &c)
}

// find is what a path leads to.
func (f *FS) find(path string) (*node, error) {
	n := f.root
	for name := range strings.SplitSeq(strings.Trim(filepath.Clean(path), "/"), "/") {
		switch {
		case name == "" || name == ".":
			continue
		case !n.isDir():
			return nil, syscall.ENOTDIR
		}
		if n = n.names[name]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent is the directory of a path, and the last name of it.
func (f *FS) parent(path string) (dir *node, name string, err error) {
	path = filepath.Clean(path)
	dir, err = f.find(filepath.Dir(path))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, filepath.Base(path), err
}
