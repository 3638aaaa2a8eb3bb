// Package proxytest is a proxy for tests: SOCKS5 (RFC 1928, 1929) and HTTP CONNECT (RFC 9110, 9.3.6) on one
// port each, with names that only the proxy knows.
package proxytest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"mailwhy/relay/smtptest"
)

// Options say how a Server behaves.
type Options struct {
	User, Password string            // that a client must give; no user: none
	Hosts          map[string]string // host:port as the client asks for it, and the address it stands for
	TLS            *tls.Config       // speak TLS before HTTP; nil: do not
	Refuse         bool              // connect to nothing
	Answer         string            // in place of the answer of a CONNECT proxy
	Mute           bool              // take connections and say nothing
}

// Server is a running proxy. Its methods are safe for concurrent use.
type Server struct {
	Addr string

	opt Options
	ln  net.Listener
	all sync.WaitGroup

	mu     sync.Mutex
	asked  []string
	conns  []net.Conn
	closed bool
}

// SOCKS5 starts a SOCKS5 proxy on 127.0.0.1 that ends with its test.
func SOCKS5(tb smtptest.TB, o Options) *Server { return start(tb, o, (*Server).socks) }

// Connect starts a CONNECT proxy on 127.0.0.1 that ends with its test.
func Connect(tb smtptest.TB, o Options) *Server { return start(tb, o, (*Server).connect) }

// Asked are the targets that were asked for, in order, as the clients wrote them.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func start(tb smtptest.TB, o Options, serve func(*Server, net.Conn)) *Server {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("starting a proxy: %v", err)
	}
	s := &Server{Addr: ln.Addr().String(), opt: o, ln: ln}
	s.all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if !s.keep(c) {
				continue
			}
			s.all.Go(func() {
				defer c.Close()
				serve(s, c)
			})
		}
	})
	tb.Cleanup(s.close)
	return s
}

// keep remembers a connection that close must end.
func (s *Server) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns = append(s.conns, c)
	return true
}

func (s *Server) close() {
	s.ln.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

// dial connects to what a client asked for.
func (s *Server) dial(target string) (net.Conn, error) {
	s.mu.Lock()
	s.asked = append(s.asked, target)
	s.mu.Unlock()
	if s.opt.Refuse {
		return nil, fmt.Errorf("not to %s", target)
	}
	if known, ok := s.opt.Hosts[target]; ok {
		target = known
	}
	c, err := net.Dial("tcp", target)
	if err == nil && !s.keep(c) {
		err = net.ErrClosed
	}
	return c, err
}

// join passes bytes both ways until one side ends.
func join(client net.Conn, in io.Reader, server net.Conn) {
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(server, in)
		server.Close()
	})
	io.Copy(client, server)
	client.Close()
	both.Wait()
}

// socks serves one client.
func (s *Server) socks(c net.Conn) {
	if s.opt.Mute {
		io.Copy(io.Discard, c)
		return
	}
	in := bufio.NewReader(c)
	if !s.socksLogin(c, in) {
		return
	}
	head, err := readN(in, 4) // VER CMD RSV ATYP
	if err != nil || head[1] != 1 {
		return
	}
	var host string
	switch head[3] {
	case 1, 4:
		ip, _ := readN(in, map[byte]int{1: 4, 4: 16}[head[3]])
		host = net.IP(ip).String()
	case 3:
		host = readText(in)
	}
	port, err := readN(in, 2)
	if err != nil {
		return
	}
	server, err := s.dial(net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port))))
	if err != nil {
		c.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0}) // not allowed by ruleset
		return
	}
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, in, server)
}

// socksLogin agrees on a method and checks the user.
func (s *Server) socksLogin(c net.Conn, in *bufio.Reader) bool {
	head, err := readN(in, 2) // VER NMETHODS
	if err != nil || head[0] != 5 {
		return false
	}
	methods, err := readN(in, int(head[1]))
	want := byte(0)
	if s.opt.User != "" {
		want = 2
	}
	if err != nil || !slices.Contains(methods, want) {
		c.Write([]byte{5, 0xff})
		return false
	}
	c.Write([]byte{5, want})
	if want == 0 {
		return true
	}
	if _, err := readN(in, 1); err != nil { // version of RFC 1929
		return false
	}
	if readText(in) != s.opt.User || readText(in) != s.opt.Password {
		c.Write([]byte{1, 1})
		return false
	}
	c.Write([]byte{1, 0})
	return true
}

func readN(in io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(in, b)
	return b, err
}

// readText reads a text with its length before it.
func readText(in io.Reader) string {
	n, err := readN(in, 1)
	if err != nil {
		return ""
	}
	b, _ := readN(in, int(n[0]))
	return string(b)
}

// connect serves one client.
func (s *Server) connect(c net.Conn) {
	if s.opt.Mute {
		io.Copy(io.Discard, c)
		return
	}
	if s.opt.TLS != nil {
		c = tls.Server(c, s.opt.TLS)
	}
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	wanted := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.opt.User+":"+s.opt.Password))
	switch {
	case s.opt.Answer != "":
		io.WriteString(c, s.opt.Answer)
		return
	case req.Method != http.MethodConnect:
		io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
		return
	case s.opt.User != "" && req.Header.Get("Proxy-Authorization") != wanted:
		io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
		return
	}
	server, err := s.dial(req.Host)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\nVia: proxytest\r\n\r\n")
	join(c, in, server)
}
