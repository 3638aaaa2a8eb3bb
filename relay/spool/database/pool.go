package database

import (
	"errors"
	"sync"
)

// ErrClosed is returned once the pool, or the spool that it is of, is closed.
var ErrClosed = errors.New("spool closed")

// readers is how many connections read at the same time.
const readers = 3

// Pool is a set of connections for reading.
type Pool struct {
	name  string
	how   string     // readBeside or readAlone
	slots chan *Conn // nil for one that is not open

	mu      sync.Mutex
	stopped bool // get fails; for the time that the database is reopened
	closed  bool
}

func NewPool(name, how string) *Pool {
	p := &Pool{name: name, how: how, slots: make(chan *Conn, readers)}
	for range readers {
		p.slots <- nil
	}
	return p
}

// Get takes a connection.
func (p *Pool) Get() (*Conn, error) {
	c := <-p.slots
	p.mu.Lock()
	stopped, closed := p.stopped, p.closed
	p.mu.Unlock()
	var err error
	switch {
	case closed:
		err = ErrClosed
	case stopped:
		err = ErrNotOpen
	case c == nil:
		c, err = OpenReader(p.name, p.how)
	}
	if err != nil {
		p.slots <- c
		return nil, err
	}
	return c, nil
}

// Put gives a connection back; err is what its user met.
func (p *Pool) Put(c *Conn, err error) {
	if IsBroken(err) {
		c.Close()
		c = nil
	}
	p.slots <- c
}

// Stop closes all connections, waiting for those in use, until start.
func (p *Pool) Stop() error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	var errs []error
	for range readers {
		if c := <-p.slots; c != nil {
			errs = append(errs, c.Close())
		}
	}
	for range readers {
		p.slots <- nil
	}
	return errors.Join(errs...)
}

// Start lets connections be taken again.
func (p *Pool) Start() {
	p.mu.Lock()
	p.stopped = false
	p.mu.Unlock()
}

// Close closes the pool for good.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.Stop()
}
