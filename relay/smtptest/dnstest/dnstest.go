// Package dnstest is a DNS server on loopback that answers from zones in text, for tests.
package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server is a running server. It stops with its test.
type Server struct {
	Addr string // of UDP and TCP

	mu    sync.Mutex
	names map[string][]dns.RR // by owner in lower case
	fails map[string]bool     // owners that get SERVFAIL
	asked map[string]int      // questions by owner
}

// Start serves the records of zone, one a line in the format of a zone file (RFC 1035, 5). Owners are
// absolute with or without the final dot; "NAME SERVFAIL" makes questions for a name fail.
func Start(t testing.TB, zone string) *Server {
	t.Helper()
	s := &Server{names: map[string][]dns.RR{}, fails: map[string]bool{}, asked: map[string]int{}}
	s.load(t, zone)
	pc, ln := listen(t)
	s.Addr = pc.LocalAddr().String()
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: ln, Handler: s}} {
		started, ended := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			srv.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			srv.Shutdown()
			<-ended
		})
	}
	return s
}

// listen finds a port that is free for UDP and for TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if pc, err := net.ListenPacket("udp", ln.Addr().String()); err == nil {
			return pc, ln
		}
		ln.Close()
	}
	t.Fatal("no port is free for UDP and for TCP")
	return nil, nil
}

// load parses the zone.
func (s *Server) load(t testing.TB, zone string) {
	t.Helper()
	for line := range strings.Lines(zone) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' {
			continue
		}
		if name, ok := strings.CutSuffix(line, " SERVFAIL"); ok {
			s.fails[key(name)] = true
			continue
		}
		rr, err := dns.NewRR("$ORIGIN .\n" + line)
		if err != nil || rr == nil {
			t.Fatalf("zone: %s: %v", line, err)
		}
		name := key(rr.Header().Name)
		s.names[name] = append(s.names[name], rr)
	}
}

func key(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// Asked is how often a name was asked for.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[key(name)]
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name, qtype := key(q.Question[0].Name), q.Question[0].Qtype
	s.mu.Lock()
	s.asked[name]++
	s.mu.Unlock()
	r := new(dns.Msg).SetReply(q)
	if s.fails[name] {
		r.Rcode = dns.RcodeServerFailure
	} else {
		s.answer(r, name, qtype)
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		r.Truncate(size)
	}
	w.WriteMsg(r)
}

// answer adds the records of a name, and follows its CNAME as a recursive resolver does.
func (s *Server) answer(r *dns.Msg, name string, qtype uint16) {
	for range 10 {
		next := ""
		for _, rr := range s.names[name] {
			c, alias := rr.(*dns.CNAME)
			if rr.Header().Rrtype == qtype || alias {
				r.Answer = append(r.Answer, rr)
			}
			if alias && qtype != dns.TypeCNAME {
				next = key(c.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if !s.exists(name) {
		r.Rcode = dns.RcodeNameError
	}
}

// exists reports whether there is a record at the name or below it (RFC 8020).
func (s *Server) exists(name string) bool {
	for owner := range s.names {
		if owner == name || strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}
