package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mailwhy/relay"
)

// ReadOnly is a spool that is looked into while no relay runs on it. It is safe for concurrent use, and keeps a relay
// from starting on the directory until it is closed.
type ReadOnly struct {
	dir  string
	lock *os.File
	pool *pool
}

var _ relay.Lister = (*ReadOnly)(nil)

// OpenReadOnly opens the spool in dir for reading. It fails with ErrInUse while a relay has it open.
func OpenReadOnly(dir string) (*ReadOnly, error) {
	r := &ReadOnly{dir: dir}
	var err error
	if r.lock, err = lockDir(dir, false); err != nil {
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	name, how := filepath.Join(dir, databaseName), readBeside
	if fi, err := os.Stat(name + "-wal"); err != nil || fi.Size() == 0 {
		how = readAlone
	}
	r.pool = newPool(name, how)
	if err := r.read(func(*conn) error { return nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("spool %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// Close ends the reading.
func (r *ReadOnly) Close() error { return errors.Join(r.pool.close(), r.lock.Close()) }

// read lets f use a connection.
func (r *ReadOnly) read(f func(*conn) error) error {
	c, err := r.pool.get()
	if err != nil {
		return err
	}
	err = f(c)
	r.pool.put(c, err)
	return err
}

// List implements relay.Lister.
func (r *ReadOnly) List(ctx context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	return list(ctx, r.read, f, each)
}

// Stat implements relay.Lister.
func (r *ReadOnly) Stat(context.Context) (st relay.SpoolStat, err error) {
	err = r.read(func(c *conn) error {
		n, err := readCounts(c)
		if err != nil {
			return err
		}
		st = relay.SpoolStat{Messages: n.messages, Bytes: n.bytes, Notices: n.notices}
		st.Oldest, err = c.oldest()
		return err
	})
	if err != nil {
		return st, err
	}
	st.FreeBytes, err = freeBytes(r.dir)
	return st, err
}
