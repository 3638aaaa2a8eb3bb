package upstream

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// raw is a server that says and reads exactly what a test wants, for what smtptest's server would not do.
type raw struct {
	addr string
	wg   sync.WaitGroup
}

// peer is one connection of a raw server.
type peer struct {
	net.Conn
	r    *bufio.Reader
	over chan struct{} // closed with the server
}

// newRaw serves each connection by serve, and closes it then.
func newRaw(t testing.TB, serve func(*peer)) *raw {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &raw{addr: l.Addr().String()}
	over := make(chan struct{})
	s.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer nc.Close()
				serve(&peer{Conn: nc, r: bufio.NewReader(nc), over: over})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(over)
		s.wg.Wait()
	})
	return s
}

// say writes.
func (p *peer) say(s string) { io.WriteString(p, s) }

// line reads one line; "" at the end.
func (p *peer) line() string {
	s, _ := p.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n")
}

// until reads lines up to one that begins with prefix, and answers.
func (p *peer) until(prefix, answer string) {
	for {
		switch l := p.line(); {
		case l == "":
			return
		case strings.HasPrefix(l, prefix):
			p.say(answer)
			return
		}
	}
}

// read throws n bytes away.
func (p *peer) read(n int64) { io.CopyN(io.Discard, p.r, n) }
