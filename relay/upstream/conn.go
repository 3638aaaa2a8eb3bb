package upstream

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection. After start, its own goroutine reads all replies, so that none is missed (an early
// reply during the content, a 421 while idle) and neither side waits for the other to read.
type conn struct {
	net    net.Conn
	in     *replyReader
	remote string
	tls    string // version; "" without TLS
	ext    extensions
	born   time.Time
	pool   *Pool

	replies   chan reply
	done      chan struct{}
	closing   sync.Once
	streaming atomic.Bool // content is being written: a reply now is early
	canceled  atomic.Bool // we closed it, at the end of the grace period
	timer     *time.Timer
	idle      *time.Timer // ends an unused connection

	transactions int
	reused       bool // it has carried a transaction or been idle in the pool
	dirty        bool // a transaction may still be open at the server
	rcptMax      int  // recipients per transaction, learned from refusals; 0: unknown
}

func (p *Pool) newConn(nc net.Conn, remote string) *conn {
	p.sockets.Add(1)
	return &conn{net: nc, in: newReplyReader(nc), remote: remote, born: p.opt.Now(), pool: p,
		done: make(chan struct{})}
}

// start hands reading over to the connection's own goroutine.
func (c *conn) start(ext extensions) {
	c.net.SetDeadline(time.Time{})
	c.ext = ext
	c.replies = make(chan reply, c.pool.opt.RcptMax+8) // one for each command of a transaction
	c.timer = time.NewTimer(time.Hour)
	c.timer.Stop()
	go c.receive()
}

// receive reads replies until the connection ends.
func (c *conn) receive() {
	for {
		r := c.in.next()
		select {
		case c.replies <- r:
		case <-c.done:
			return
		}
		if c.streaming.Load() {
			c.net.SetWriteDeadline(time.Unix(1, 0)) // wakes the writer
		}
		if r.err != nil {
			c.pool.forget(c)
			return
		}
	}
}

// await returns the next reply, or a timeout after limit.
func (c *conn) await(limit time.Duration) reply {
	select {
	case r := <-c.replies:
		return r
	default:
	}
	c.timer.Reset(limit)
	defer c.timer.Stop()
	select {
	case r := <-c.replies:
		return r
	case <-c.timer.C:
		return reply{err: os.ErrDeadlineExceeded}
	}
}

// spoke reports whether there is a reply that has not been read yet.
func (c *conn) spoke() bool { return len(c.replies) > 0 }

// write writes b as a whole.
func (c *conn) write(b []byte, limit time.Duration) error {
	c.net.SetWriteDeadline(time.Now().Add(limit))
	_, err := c.net.Write(b)
	return err
}

// lastWords is what the server replied before a write failed; if nothing, the failure itself.
func (c *conn) lastWords(err error) reply {
	limit := time.Second
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.spoke() {
		return reply{err: err}
	}
	if r := c.await(limit); r.err == nil {
		return r
	}
	return reply{err: err}
}

// fit reports whether another transaction may begin.
func (c *conn) fit() bool {
	o := &c.pool.opt
	for _, most := range [...]int{o.MaxMessages, c.ext.mailMax} { // RFC 9422
		if most > 0 && c.transactions >= most {
			return false
		}
	}
	return !c.spoke() && o.Now().Sub(c.born) < o.MaxAge
}

// close ends the connection without QUIT. A message cut short must end this way: a command after half of a
// content would become part of it.
func (c *conn) close() {
	c.closing.Do(func() {
		close(c.done)
		c.net.Close()
		c.pool.sockets.Add(-1)
	})
}

// quit ends the connection as RFC 5321, 4.1.1.10 asks.
func (c *conn) quit() {
	if !c.spoke() && c.write([]byte("QUIT\r\n"), quitTimeout) == nil {
		c.await(quitTimeout)
	}
	c.close()
}
