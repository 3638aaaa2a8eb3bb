package upstream

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection. Once start was called a goroutine of its own reads all replies, so that nothing said is missed
// (an early reply within the content, a 421 while idle) and neither side waits for the other to read.
type conn struct {
	net    net.Conn
	in     *replyReader
	remote string
	tls    string // version, "" in clear
	ext    extensions
	born   time.Time
	pool   *Pool

	replies   chan reply
	done      chan struct{}
	closing   sync.Once
	streaming atomic.Bool // content is being written: a reply now is an early one
	canceled  atomic.Bool // we closed it ourselves, at the end of the grace
	timer     *time.Timer
	idle      *time.Timer // ends the connection when it stays unused

	transactions int
	reused       bool // a transaction, or a wait in the pool, lies behind it
	dirty        bool // a transaction may still be open at the server
	rcptMax      int  // recipients a transaction, as the server's refusals taught; 0 is not known
}

func (p *Pool) newConn(nc net.Conn, remote string) *conn {
	return &conn{net: nc, in: newReplyReader(nc), remote: remote, born: p.opt.Now(), pool: p, done: make(chan struct{})}
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

// spoke reports whether something was said that nobody has heeded yet.
func (c *conn) spoke() bool { return len(c.replies) > 0 }

// write writes b as a whole.
func (c *conn) write(b []byte, limit time.Duration) error {
	c.net.SetWriteDeadline(time.Now().Add(limit))
	_, err := c.net.Write(b)
	return err
}

// lastWords is what the server said before a write failed; without any it is the failure itself.
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

// close ends the connection without a word. A message cut short must end this way: any command after half a content
// would be taken for more of it.
func (c *conn) close() {
	c.closing.Do(func() {
		close(c.done)
		c.net.Close()
	})
}

// quit ends the connection as RFC 5321, 4.1.1.10 asks.
func (c *conn) quit() {
	if !c.spoke() && c.write([]byte("QUIT\r\n"), quitTimeout) == nil {
		c.await(quitTimeout)
	}
	c.close()
}
