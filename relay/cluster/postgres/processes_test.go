package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/smtptest/process"
)

// The variables that make the test program a member of its own: the database, and the provider's address.
const (
	memberDatabase = "MAILWHY_TEST_CLUSTER"
	memberProvider = "MAILWHY_TEST_PROVIDER"
	memberNumber   = "MAILWHY_TEST_MEMBER"
)

// The provider's limits in these tests: 30 messages within a time that is shorter than the minute of real
// ones.
const (
	mostMessages    = 30
	mostConnections = 3
	within          = 3 * time.Second
)

func TestMain(m *testing.M) {
	if database := os.Getenv(memberDatabase); database != "" {
		number, _ := strconv.Atoi(os.Getenv(memberNumber))
		fmt.Println(sendForEver(database, os.Getenv(memberProvider), number))
		os.Exit(1)
	}
	os.Exit(postgrestest.Run(m))
}

// sendForEver is a member that always has mail. It says who it is by a byte; each further one is a message,
// which the provider answers with another.
func sendForEver(database, provider string, number int) error {
	ctx := context.Background()
	c, err := Open(ctx, options(database))
	if err != nil {
		return err
	}
	var conn net.Conn
	q := relay.ShareQuery{Account: "provider", Connections: mostConnections, Messages: mostMessages,
		Per: within, Exact: true, Wanted: 1, Ask: 2}
	for {
		share, err := c.Take(ctx, q)
		if err != nil {
			return err
		}
		if share.Connections == 0 && conn != nil {
			conn.(*net.TCPConn).CloseWrite()
			conn.Read(make([]byte, 1)) // until the provider knows
			conn.Close()
			conn, q.Held = nil, 0
		}
		if share.Connections > 0 && conn == nil && time.Now().Before(share.Until) {
			if conn, err = net.Dial("tcp", provider); err != nil {
				return err
			}
			if _, err := conn.Write([]byte{byte(number)}); err != nil {
				return err
			}
			q.Held = 1
		}
		for range share.Messages {
			if conn == nil || !time.Now().Before(share.Until) {
				break
			}
			if _, err := conn.Write([]byte{'m'}); err != nil {
				return err
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				return err
			}
			q.Ended++
		}
		if share.Messages == 0 {
			time.Sleep(share.Again)
		}
	}
}

// provider takes messages, and notes when each was under way.
type provider struct {
	ln net.Listener

	mu       sync.Mutex
	messages []span
	open     map[int]bool // members that have a connection
	most     int
}

// span is when a message was under way.
type span struct{ begun, ended time.Time }

func newProvider(t *testing.T) *provider {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{ln: ln, open: map[int]bool{}}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

// serve takes the messages of a connection.
func (p *provider) serve(conn net.Conn) {
	defer conn.Close()
	b := make([]byte, 1)
	if _, err := conn.Read(b); err != nil {
		return
	}
	member := int(b[0])
	p.mu.Lock()
	p.open[member] = true
	p.most = max(p.most, len(p.open))
	p.mu.Unlock()
	for {
		if _, err := conn.Read(b); err != nil {
			break
		}
		begun := time.Now()
		time.Sleep(30 * time.Millisecond) // a message takes its time
		p.mu.Lock()
		p.messages = append(p.messages, span{begun, time.Now()})
		p.mu.Unlock()
		if _, err := conn.Write(b); err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.open, member)
	p.mu.Unlock()
}

// taken is how many messages there were.
func (p *provider) taken() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.messages) }

// connections is how many are open.
func (p *provider) connections() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.open) }

// connected is a member that has a connection.
func (p *provider) connected() (member int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for member := range p.open {
		return member, true
	}
	return 0, false
}

// worst is the highest number of messages that were under way or ended within the time.
func (p *provider) worst() (worst int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.messages, func(a, b span) int { return a.ended.Compare(b.ended) })
	for i, first := range p.messages {
		n := 0
		for _, m := range p.messages[i:] {
			if m.begun.Before(first.ended.Add(within)) {
				n++
			}
		}
		worst = max(worst, n)
	}
	return worst
}

// TestProcesses: five processes before one provider, of which one is killed: never a message or a connection
// too many, and what the dead one had falls to the others.
func TestProcesses(t *testing.T) {
	p, database := newProvider(t), postgrestest.Database(t)
	dir := t.TempDir()
	var members []*process.Process
	for i := range 5 {
		one, err := process.Spec{Args: []string{os.Args[0]}, Log: filepath.Join(dir, fmt.Sprint(i)),
			Env: []string{memberDatabase + "=" + database, memberProvider + "=" + p.ln.Addr().String(),
				memberNumber + "=" + fmt.Sprint(i)}}.Launch()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Kill)
		members = append(members, one)
	}
	more := func(n int) {
		t.Helper()
		for want := p.taken() + 10; n > 0; want, n = want+10, n-10 {
			smtptest.WaitFor(t, "more messages", func() bool { return p.taken() >= want })
		}
	}
	more(2 * mostMessages)
	begun, before := time.Now(), p.taken()
	more(2 * mostMessages)
	rate := float64(p.taken()-before) / time.Since(begun).Seconds()
	t.Logf("%.0f %% of the rate is used", 100*rate/(mostMessages/within.Seconds()))
	var victim int
	smtptest.WaitFor(t, "a member to have a connection", func() (ok bool) {
		victim, ok = p.connected()
		return ok
	})
	members[victim].Kill()
	killed := time.Now()
	smtptest.WaitFor(t, "the provider to see it", func() bool { return p.connections() < mostConnections })
	smtptest.WaitFor(t, "its connection to be another's", func() bool {
		return p.connections() == mostConnections
	})
	t.Logf("its connection is another's after %v", time.Since(killed))
	more(3 * mostMessages)
	if n := p.worst(); n > mostMessages {
		t.Errorf("%d messages within %v, at most %d are allowed", n, within, mostMessages)
	} else {
		t.Logf("at most %d messages within %v", n, within)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > mostConnections {
		t.Errorf("%d connections at a time, at most %d are allowed", p.most, mostConnections)
	}
	for i, m := range members {
		if i != victim && !m.Alive() {
			t.Errorf("a member has ended: %s", m.Tail())
		}
	}
}
