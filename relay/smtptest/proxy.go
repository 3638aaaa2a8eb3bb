package smtptest

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Faults are what happens to the bytes of one direction of a connection. The zero Faults pass them on
// unchanged.
type Faults struct {
	Delay     time.Duration // each byte arrives that much later; any number may be under way
	Bandwidth int64         // bytes a second; 0 is no limit
	Cut       *Cut
}

// Cut ends a connection at an exact byte.
type Cut struct {
	After int64 // bytes of this direction that still pass
	End   End   // EndClose and EndReset end both sides; EndStall passes nothing more in this direction
}

// Proxy stands before a server and damages the way to it. Its methods are safe for concurrent use.
type Proxy struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	toServer Faults
	toClient Faults
	each     func(n int) (toServer, toClient Faults)
	begun    int
	conns    map[*proxied]struct{}
	closed   bool
}

// proxied is a pair of connections.
type proxied struct {
	client, server net.Conn
	over           chan struct{} // closed when the pair ends
	once           sync.Once
}

// chunk is what was read at once, and when it may go on.
type chunk struct {
	b   []byte
	due time.Time
}

// inFlight is how many chunks of up to 32 KiB a direction may hold back.
const inFlight = 256

// StartProxy listens on 127.0.0.1 and passes connections on to target. The Proxy runs until Close.
func StartProxy(target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, ln: ln, conns: make(map[*proxied]struct{})}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// NewProxy starts a Proxy that is closed when the test ends.
func NewProxy(tb TB, target string) *Proxy {
	tb.Helper()
	p, err := StartProxy(target)
	if err != nil {
		tb.Fatalf("starting the proxy: %v", err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// Addr is the address and port that the proxy listens on.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Redirect has connections that begin from now on go to another server.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Damage sets what happens to connections that begin from now on.
func (p *Proxy) Damage(toServer, toClient Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toServer, p.toClient, p.each = toServer, toClient, nil
}

// DamageEach asks each what happens to connection number n, counted from 1 over the Proxy's life, for those
// that begin from now on. It is called with the Proxy's lock held.
func (p *Proxy) DamageEach(each func(n int) (toServer, toClient Faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.each = each
}

// End ends every open connection in the given way, now; EndStall is not a choice.
func (p *Proxy) End(how End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.end(how)
	}
}

// Close stops listening, ends every connection, and returns when all is over. A second call does nothing.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	err := p.ln.Close()
	for c := range p.conns {
		c.end(EndReset)
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(5 * time.Millisecond)
			continue
		}
		p.wg.Go(func() { p.pass(client) })
	}
}

// pass joins a client to the target until the pair ends.
func (p *Proxy) pass(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	c := &proxied{client: client, server: server, over: make(chan struct{})}
	p.mu.Lock()
	toServer, toClient := p.toServer, p.toClient
	p.begun++
	if p.each != nil {
		toServer, toClient = p.each(p.begun)
	}
	p.conns[c] = struct{}{}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		c.end(EndReset)
	}
	var both sync.WaitGroup
	both.Go(func() { c.direction(client, server, toServer) })
	both.Go(func() { c.direction(server, client, toClient) })
	both.Wait()
	client.Close()
	server.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// direction passes bytes one way: one goroutine reads and stamps them, this one writes them when they are
// due.
func (c *proxied) direction(from, to net.Conn, f Faults) {
	queue := make(chan chunk, inFlight)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(queue)
		c.read(from, queue, f.Delay)
	})
	if c.write(to, queue, f) {
		halfClose(to)
	}
	for range queue { // the reader must not hang
	}
	reading.Wait()
}

// read fills the queue until the connection ends.
func (c *proxied) read(from net.Conn, queue chan<- chunk, delay time.Duration) {
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			queue <- chunk{b[:n], time.Now().Add(delay)}
		}
		if err != nil {
			if err != io.EOF {
				c.end(EndReset) // what one side does, the other sees
			}
			return
		}
	}
}

// write empties the queue; it reports whether the direction came to its natural end.
func (c *proxied) write(to net.Conn, queue <-chan chunk, f Faults) bool {
	var passed int64
	if f.Cut != nil && f.Cut.After <= 0 {
		return c.cut(f.Cut.End, queue)
	}
	for k := range queue {
		if !c.sleep(time.Until(k.due)) {
			return false
		}
		b := k.b
		last := f.Cut != nil && passed+int64(len(b)) >= f.Cut.After
		if last {
			b = b[:f.Cut.After-passed]
		}
		if !c.paced(to, b, f.Bandwidth) {
			return false
		}
		passed += int64(len(b))
		if last {
			return c.cut(f.Cut.End, queue)
		}
	}
	return true
}

// cut ends the direction before its time. A stall lasts until the side that speaks has had enough.
func (c *proxied) cut(how End, queue <-chan chunk) bool {
	if how == EndStall {
		for range queue {
		}
		how = EndClose
	}
	c.end(how)
	return false
}

// paced writes b at the given rate.
func (c *proxied) paced(to net.Conn, b []byte, bandwidth int64) bool {
	for len(b) > 0 {
		n := len(b)
		if bandwidth > 0 {
			n = min(n, max(1, int(bandwidth/50)))
			if !c.sleep(time.Duration(n) * time.Second / time.Duration(bandwidth)) {
				return false
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			c.end(EndReset)
			return false
		}
		b = b[n:]
	}
	return true
}

// sleep waits; false when the pair ended meanwhile.
func (c *proxied) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.over:
		return false
	}
}

// end ends both connections, once. EndClose sends a FIN each way and leaves it to the readers to take in what
// is still coming, since closing over unread bytes would be a reset.
func (c *proxied) end(how End) {
	c.once.Do(func() {
		close(c.over)
		for _, conn := range []net.Conn{c.client, c.server} {
			if how == EndClose {
				conn.SetReadDeadline(time.Now().Add(lingering))
				halfClose(conn)
				continue
			}
			if t, ok := conn.(*net.TCPConn); ok {
				t.SetLinger(0)
			}
			conn.Close()
		}
	})
}

// halfClose passes a FIN on.
func halfClose(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}
