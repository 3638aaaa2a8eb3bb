package postgres

import (
	"context"
	"errors"
	"sync"

	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool/postgres/database"
)

// leastConnections is what the writers, the heartbeat and one of all others need.
const leastConnections = writers + 2

// pool has the connections that are not the writers' or the heartbeat's. They are opened when they are
// needed.
type pool struct {
	db    *database.DB
	slots chan struct{} // one for each connection in use

	mu     sync.Mutex
	idle   []*postgres.Conn
	closed bool
}

func newPool(db *database.DB, max int) *pool { return &pool{db: db, slots: make(chan struct{}, max)} }

var errClosed = errors.New("the spool is closed")

// with runs f with a connection, which f has for itself. An idle one may turn out to be lost: f then is run
// again with a new one if again says that no harm comes of that.
func (p *pool) with(ctx context.Context, f func(*postgres.Conn) error) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c, err := p.take()
	if err != nil {
		return err
	}
	if c == nil {
		if c, err = p.db.Connect(ctx); err != nil {
			return unavailable(err)
		}
	}
	err = f(c)
	p.put(c)
	return err
}

// read is with for what only reads: over a connection that turns out to be lost it is tried again.
func (p *pool) read(ctx context.Context, f func(*postgres.Conn) error) error {
	for tries := 0; ; tries++ {
		lost := false
		err := p.with(ctx, func(c *postgres.Conn) error {
			err := f(c)
			lost = c.IsClosed()
			return err
		})
		if err == nil || !lost {
			return err
		}
		if tries == cap(p.slots) || ctx.Err() != nil {
			return unavailable(err)
		}
	}
}

// take takes an idle connection; nil if there is none.
func (p *pool) take() (*postgres.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	n := len(p.idle)
	if n == 0 {
		return nil, nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c, nil
}

// put takes a connection back.
func (p *pool) put(c *postgres.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.IsClosed():
	case p.closed:
		c.Drop()
	default:
		p.idle = append(p.idle, c)
	}
}

// close closes the connections, and those in use when they come back.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.Drop()
	}
	p.idle = nil
}
