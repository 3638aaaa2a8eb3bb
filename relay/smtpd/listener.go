package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"

	"mailwhy/diagnose"
	"mailwhy/relay/smtpd/refusal"
	"mailwhy/relay/smtpd/wire"
)

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("smtpd: server closed")

// Serve accepts connections from l until Shutdown or a permanent error. It refuses a listener that would
// relay for anybody. It owns l.
func (s *Server) Serve(l net.Listener, conf Listen) error {
	conf.Network, conf.Addr = l.Addr().Network(), l.Addr().String()
	own := &listener{Listener: l, conf: conf, server: s}
	if err := s.admit(own); err != nil {
		l.Close()
		return err
	}
	err := s.smtp.Serve(own)
	l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, own)
	if s.draining {
		return ErrClosed
	}
	return err
}

// admit registers a listener.
func (s *Server) admit(l *listener) error {
	o := s.options.Load()
	if l.conf.TLS && o.TLS() == nil {
		return fmt.Errorf("listener %s: TLS without a certificate", l.conf.Addr)
	}
	if err := errors.Join(CheckOpen([]Listen{l.conf}, o.Access), bouncesReady(&l.conf, o)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	return nil
}

// listener turns connections into sessions. go-smtp accepts from it.
type listener struct {
	net.Listener
	conf   Listen
	server *Server
}

// Accept returns the next connection that may be served.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if sess := l.server.enter(l, raw); sess != nil {
			return sess.wire, nil
		}
	}
}

// enter makes a session, or tells the client why not and closes the connection.
func (s *Server) enter(l *listener, raw net.Conn) *session {
	o := s.options.Load()
	sess := &session{server: s, options: o, listen: &l.conf}
	sess.wire = wire.New(raw, wire.Config{
		Dialogue: sess, Limits: o.Limits.wire(), Buffers: s.buffers,
		// Bounce mail has line ends of every kind, and nothing behind a false end of it is ever relayed.
		Normalize: o.NormalizeNewlines || l.conf.Bounces,
		Open:      sess.open, TLS: sess.tlsConfig, Closed: sess.closed,
	})
	s.mu.Lock()
	full := o.Limits.Connections > 0 && len(s.sessions) >= o.Limits.Connections
	draining := s.draining
	if !full && !draining {
		s.sessions[sess] = struct{}{}
		s.live.Add(1)
	}
	s.mu.Unlock()
	switch {
	case draining:
		l.turnAway(raw, s.refusals.Line(refusal.New("shutting_down")))
	case full:
		why := refusal.New("all_connections", o.Limits.Connections)
		line := s.refusals.Line(why)
		l.turnAway(raw, line)
		sess.findClient(raw.RemoteAddr())
		sess.refused(diagnose.StageConnect, why, strings.TrimRight(line, "\r\n"))
	default:
		return sess
	}
	return nil
}

// turnAway closes a connection at once, with a reply if that needs no handshake.
func (l *listener) turnAway(raw net.Conn, line string) {
	if !l.conf.TLS && len(l.conf.Proxy) == 0 {
		// The buffer of a new socket is empty, so the write does not wait.
		raw.SetWriteDeadline(time.Now().Add(time.Second))
		raw.Write([]byte(line))
	}
	raw.Close()
}

// open is the session's wire.Config.Open: the PROXY header first, then implicit TLS.
func (s *session) open(raw net.Conn) (net.Conn, error) {
	nc, remote, err := s.proxied(raw)
	if err != nil {
		return nil, err
	}
	s.findClient(remote)
	if !s.listen.TLS {
		return nc, nil
	}
	return s.implicitTLS(nc)
}

// proxied reads the PROXY header that a trusted proxy must send, and returns the address of the client
// behind it. A header without a client (LOCAL, UNKNOWN, a unix socket) gives no address: such a client is
// not in any network.
func (s *session) proxied(raw net.Conn) (net.Conn, net.Addr, error) {
	if !containsAddr(s.listen.Proxy, raw.RemoteAddr()) {
		return raw, raw.RemoteAddr(), nil
	}
	// The wire's deadline covers the header; the library's own would replace it.
	pc := proxyproto.NewConn(raw, proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(0))
	header := pc.ProxyHeader()
	if header == nil {
		return nil, nil, errors.New("no PROXY header from a trusted proxy")
	}
	if source, ok := header.SourceAddr.(*net.TCPAddr); ok && !header.Command.IsLocal() {
		return pc, source, nil
	}
	return pc, nil, nil
}

// containsAddr reports whether one of prefixes contains the IP address of a.
func containsAddr(prefixes []netip.Prefix, a net.Addr) bool {
	ip := addrOf(a)
	for _, p := range prefixes {
		if unmapped(p).Contains(ip) {
			return true
		}
	}
	return false
}

// addrOf is the IP address of a TCP address, unmapped and without a zone; invalid for other kinds of address.
func addrOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// closed is the session's wire.Config.Closed.
func (s *session) closed(err error) {
	if err != nil {
		s.logFailure(err)
	}
	srv := s.server
	srv.mu.Lock()
	delete(srv.sessions, s)
	if s.counted {
		if srv.clients[s.addr]--; srv.clients[s.addr] == 0 {
			delete(srv.clients, s.addr)
		}
	}
	srv.mu.Unlock()
	srv.live.Done()
}

// countClient counts the session for its client and reports whether the limit allows it.
func (s *session) countClient() bool {
	limit := s.options.Limits.ClientConns
	if !s.addr.IsValid() {
		return true
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if limit > 0 && s.server.clients[s.addr] >= limit {
		return false
	}
	s.server.clients[s.addr]++
	s.counted = true
	return true
}

// abortWait is how long Shutdown waits for sessions whose connections it has cut: Accept may still be
// storing.
const abortWait = 5 * time.Second

// Shutdown stops listening, sends 421 to idle clients (RFC 5321, 3.8), and waits for open transactions
// until ctx is done. Then it cuts all connections and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for sess := range s.sessions {
		sess.wire.Drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() { s.live.Wait(); close(done) }()
	select {
	case <-done:
		s.abort()
		return nil
	case <-ctx.Done():
	}
	s.abort()
	s.mu.Lock()
	for sess := range s.sessions {
		sess.wire.Abort()
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-time.After(abortWait):
	}
	return ctx.Err()
}
