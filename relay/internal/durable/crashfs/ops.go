package crashfs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"mailwhy/relay/internal/durable"
)

// OpenFile implements durable.FS, for the flags O_CREATE, O_EXCL and O_TRUNC. Directories are not opened.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (durable.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Open, name); err != nil {
		return nil, err
	}
	n, err := f.open(name, flag, perm)
	if err != nil {
		return nil, pathError(Open, name, err)
	}
	return &handle{fs: f, node: n, name: name, flag: flag}, nil
}

// open finds or makes a file.
func (f *FS) open(path string, flag int, perm fs.FileMode) (*node, error) {
	if flag&os.O_APPEND != 0 {
		return nil, syscall.ENOTSUP
	}
	dir, name, err := f.parent(path)
	if err != nil {
		return nil, err
	}
	n := dir.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = &node{perm: perm.Perm(), content: newContent()}
		f.commit(link{dir, name, n})
	case flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.isDir():
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0:
		n.content.resize(0)
	}
	return n, nil
}

// Rename implements durable.FS, for files.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Rename, from)
	if err == nil {
		err = f.rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: string(Rename), Old: from, New: to, Err: errno(err)}
	}
	return nil
}

// rename does the work of Rename.
func (f *FS) rename(from, to string) error {
	oldDir, oldName, err := f.parent(from)
	if err != nil {
		return err
	}
	newDir, newName, err := f.parent(to)
	if err != nil {
		return err
	}
	n, replaced := oldDir.names[oldName], newDir.names[newName]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n.isDir():
		return syscall.ENOTSUP
	case replaced != nil && replaced.isDir():
		return syscall.EEXIST // as os.Rename
	case n != replaced:
		f.commit(link{newDir, newName, n}, link{oldDir, oldName, nil})
	}
	return nil
}

// Remove implements durable.FS.
func (f *FS) Remove(path string) error {
	return f.namesOp(Remove, path, func(dir *node, name string) error {
		switch n := dir.names[name]; {
		case n == nil:
			return syscall.ENOENT
		case len(n.names) > 0:
			return syscall.ENOTEMPTY
		}
		f.commit(link{dir, name, nil})
		return nil
	})
}

// Mkdir implements durable.FS.
func (f *FS) Mkdir(path string, perm fs.FileMode) error {
	return f.namesOp(Mkdir, path, func(dir *node, name string) error {
		if dir.names[name] != nil || name == "/" || name == "." {
			return syscall.EEXIST
		}
		made := newDir()
		made.perm = perm.Perm()
		f.commit(link{dir, name, made})
		return nil
	})
}

// namesOp runs an operation on a name in a directory.
func (f *FS) namesOp(op Op, path string, run func(dir *node, name string) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(op, path); err != nil {
		return err
	}
	dir, name, err := f.parent(path)
	if err == nil {
		err = run(dir, name)
	}
	if err != nil {
		return pathError(op, path, err)
	}
	return nil
}

// Stat implements durable.FS.
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(Stat, path); err != nil {
		return nil, err
	}
	n, err := f.find(path)
	if err != nil {
		return nil, pathError(Stat, path, err)
	}
	return n.info(path), nil
}

// ReadDir implements durable.FS.
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(ReadDir, path); err != nil {
		return nil, err
	}
	dir, err := f.dir(path)
	if err != nil {
		return nil, pathError(ReadDir, path, err)
	}
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(dir.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(dir.names[name].info(name)))
	}
	return entries, nil
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	failed := f.begin(SyncDir, path)
	if f.off {
		return failed
	}
	dir, err := f.dir(path)
	if err != nil {
		return pathError(SyncDir, path, err)
	}
	dirs := f.withNew(dir)
	var rest []*change
	for _, c := range f.changes {
		switch {
		case failed == nil:
			c = c.sync(dirs)
		case c.concerns(dir) && f.rng.IntN(2) == 0:
			c = nil // dropped
		}
		if c != nil {
			rest = append(rest, c)
		}
	}
	f.changes = rest
	return failed
}

// dir is the directory at a path.
func (f *FS) dir(path string) (*node, error) {
	n, err := f.find(path)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	return n, err
}

// errno is the cause of an error of begin.
func errno(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

// info describes a node.
func (n *node) info(name string) fs.FileInfo {
	i := info{name: filepath.Base(name), mode: n.perm}
	if n.isDir() {
		i.mode |= fs.ModeDir
	} else {
		i.size = int64(len(n.content.seen))
	}
	return i
}

// info implements fs.FileInfo.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
