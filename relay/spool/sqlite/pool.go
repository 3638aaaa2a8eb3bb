package sqlite

import (
	"errors"
	"sync"
)

// errClosed is returned once the pool, or the spool that it is of, is closed.
var errClosed = errors.New("spool closed")

// readers is how many connections read at the same time.
const readers = 3

// pool is a set of connections for reading.
type pool struct {
	name  string
	how   string     // readBeside or readAlone
	slots chan *conn // nil for one that is not open

	mu      sync.Mutex
	stopped bool // get fails; for the time that the database is reopened
	closed  bool
}

func newPool(name, how string) *pool {
	p := &pool{name: name, how: how, slots: make(chan *conn, readers)}
	for range readers {
		p.slots <- nil
	}
	return p
}

// get takes a connection.
func (p *pool) get() (*conn, error) {
	c := <-p.slots
	p.mu.Lock()
	stopped, closed := p.stopped, p.closed
	p.mu.Unlock()
	var err error
	switch {
	case closed:
		err = errClosed
	case stopped:
		err = errNoDatabase
	case c == nil:
		c, err = openReader(p.name, p.how)
	}
	if err != nil {
		p.slots <- c
		return nil, err
	}
	return c, nil
}

// put gives a connection back; err is what its user met.
func (p *pool) put(c *conn, err error) {
	if broken(err) {
		c.close()
		c = nil
	}
	p.slots <- c
}

// stop closes all connections, waiting for those in use, until start.
func (p *pool) stop() error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	var errs []error
	for range readers {
		if c := <-p.slots; c != nil {
			errs = append(errs, c.close())
		}
	}
	for range readers {
		p.slots <- nil
	}
	return errors.Join(errs...)
}

// start lets connections be taken again.
func (p *pool) start() {
	p.mu.Lock()
	p.stopped = false
	p.mu.Unlock()
}

// close closes the pool for good.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.stop()
}
