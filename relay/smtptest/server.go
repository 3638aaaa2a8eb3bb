package smtptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a running upstream. Its methods are safe for concurrent use.
type Server struct {
	opt  Options
	ln   net.Listener
	stop chan struct{} // closed by Close
	wg   sync.WaitGroup

	sessions, open, messages, recipients, bytes, refused atomic.Int64

	mu       sync.Mutex
	conns    map[*session]struct{}
	begun    []*Session
	accepted []*Message
	arrival  chan struct{} // closed, and replaced, when a message was accepted and somebody waits
	waiting  int
	closed   bool
}

// Start begins to listen. The Server runs until Close.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Hostname == "" {
		o.Hostname = "upstream.test"
	}
	if o.Mechanisms == nil {
		o.Mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5"}
	}
	if o.Idle == 0 {
		o.Idle = 5 * time.Minute // RFC 5321, 4.5.3.2.7
	}
	if o.ImplicitTLS && o.TLS == nil {
		return nil, errors.New("implicit TLS needs a TLS configuration")
	}
	ln := o.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", o.Addr); err != nil {
			return nil, err
		}
	}
	s := &Server{
		opt: o, ln: ln, stop: make(chan struct{}),
		conns: make(map[*session]struct{}), arrival: make(chan struct{}),
	}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// New starts a Server that is closed when the test ends.
func New(tb TB, o Options) *Server {
	tb.Helper()
	s, err := Start(o)
	if err != nil {
		tb.Fatalf("starting the scripted upstream: %v", err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// Addr is the address and port that the server listens on.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Port is the port that the server listens on.
func (s *Server) Port() int { return s.ln.Addr().(*net.TCPAddr).Port }

// URL is the server as --upstream takes it, without credentials.
func (s *Server) URL() string {
	switch {
	case s.opt.ImplicitTLS:
		return "smtps://" + s.Addr()
	case s.opt.TLS != nil:
		return "smtp://" + s.Addr() + "?tls=starttls"
	}
	return "smtp://" + s.Addr() + "?tls=none"
}

// Close stops listening, ends every connection, and returns when all is over. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	err := s.ln.Close()
	for c := range s.conns {
		c.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// accept takes connections until the listener is closed.
func (s *Server) accept() {
	defer s.wg.Done()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(5 * time.Millisecond) // out of file descriptors, say: it ends by itself
			continue
		}
		c := newSession(s, conn)
		if !s.enter(c) {
			conn.Close()
			return
		}
		go c.run()
	}
}

// enter counts a session in; false once the server is closed.
func (s *Server) enter(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open.Add(1)
	c.info.ID = int(s.sessions.Add(1))
	s.conns[c] = struct{}{}
	if !s.opt.Forget {
		s.begun = append(s.begun, &c.info)
	}
	s.wg.Add(1)
	return true
}

// leave counts a session out.
func (s *Server) leave(c *session) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.open.Add(-1)
	if s.opt.Ended != nil {
		s.opt.Ended(c.info.ID)
	}
	s.wg.Done()
}

// record takes a message that is about to be accepted.
func (s *Server) record(m *Message) error {
	if m.arrival != nil {
		if err := m.arrival.Enter(m.From, m.recipients()); err != nil {
			return err
		}
	}
	if s.opt.Deliver != nil {
		if err := s.opt.Deliver(m); err != nil {
			return err
		}
	}
	s.messages.Add(1)
	s.recipients.Add(int64(len(m.To)))
	s.bytes.Add(m.Size)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opt.Forget {
		s.accepted = append(s.accepted, m)
	}
	if s.waiting > 0 {
		close(s.arrival)
		s.arrival = make(chan struct{})
	}
	return nil
}

// Stats are the counts so far.
func (s *Server) Stats() Stats {
	return Stats{
		Sessions: s.sessions.Load(), Open: s.open.Load(), Messages: s.messages.Load(),
		Recipients: s.recipients.Load(), Bytes: s.bytes.Load(), Refused: s.refused.Load(),
	}
}

// Messages are those accepted, in that order. The caller must not change what they point at.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Message, len(s.accepted))
	for i, m := range s.accepted {
		all[i] = *m
	}
	return all
}

// Sessions are those begun, in that order, as they stand.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Session, len(s.begun))
	for i, k := range s.begun {
		all[i] = *k
		all[i].Commands = slices.Clone(k.Commands)
	}
	return all
}

// Wait returns once n messages were accepted, or with the error of ctx.
func (s *Server) Wait(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		s.waiting++
		arrival := s.arrival
		have := s.messages.Load()
		s.mu.Unlock()
		var err error
		if have < int64(n) {
			select {
			case <-arrival:
			case <-s.stop:
				err = net.ErrClosed
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
		if have >= int64(n) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%d of %d messages arrived: %w", s.messages.Load(), n, err)
		}
	}
}

// Interject writes a reply that nobody asked for to every open connection, as a server does that shuts down,
// and ends them in the given way. It must not be called while a session is being answered.
func (s *Server) Interject(reply string, end End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.interject(reply, end)
	}
}

// offered are the EHLO lines after the first.
func (s *Server) offered(inTLS bool) []string {
	lines := []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}
	size := "SIZE"
	if s.opt.SizeLimit > 0 {
		size = fmt.Sprintf("SIZE %d", s.opt.SizeLimit)
	}
	lines = append(lines, size)
	if s.opt.TLS != nil && !inTLS {
		lines = append(lines, "STARTTLS")
	}
	if s.authenticates() && (inTLS || !s.opt.RequireTLS) {
		lines = append(lines, "AUTH "+strings.Join(s.opt.Mechanisms, " "))
	}
	lines = slices.DeleteFunc(lines, func(l string) bool {
		word, _, _ := strings.Cut(l, " ")
		return !s.offers(word)
	})
	return append(lines, s.opt.Extra...)
}

// authenticates reports whether AUTH can succeed.
func (s *Server) authenticates() bool {
	return len(s.opt.Users) > 0 || s.opt.Login != nil || s.opt.Tokens != nil
}

// offers reports whether an EHLO keyword is not among those left out.
func (s *Server) offers(keyword string) bool {
	return !slices.ContainsFunc(s.opt.Without, func(w string) bool { return strings.EqualFold(w, keyword) })
}
