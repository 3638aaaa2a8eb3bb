package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gateTest is a gate whose only check is in somebody's hands.
type gateTest struct {
	*authGate
	mu    sync.Mutex
	order []string
}

func key(addr, name string) authKey { return authKeyOf(netip.MustParseAddr(addr), name) }

// fail makes an address fail n times about a name.
func (g *gateTest) fail(addr, name string, n int) {
	for range n {
		leave, err := g.enter(context.Background(), key(addr, name))
		if err == nil {
			leave(false)
		}
	}
}

// wait enters as a client does, and notes when its turn came.
func (g *gateTest) wait(addr, name string) {
	go func() {
		leave, err := g.enter(context.Background(), key(addr, name))
		g.mu.Lock()
		what := addr + " " + name
		if err != nil {
			what += " refused"
		}
		g.order = append(g.order, what)
		g.mu.Unlock()
		if err == nil {
			leave(false)
		}
	}()
	synctest.Wait() // it waits
}

// TestAuthOrder: who has not failed goes first, then who has failed about other names, then by the number
// of failures.
func TestAuthOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateTest{authGate: newAuthGate(time.Now)}
		g.fail("192.0.2.1", "app", 3)
		g.fail("192.0.2.2", "app", 1)
		g.fail("2001:db8::1", "app", 1)
		for i := range 10 {
			g.fail(fmt.Sprintf("198.51.100.%d", i), "root", 1)
		}
		leave, err := g.enter(context.Background(), key("192.0.2.9", "x"))
		if err != nil {
			t.Fatal(err)
		}
		g.wait("192.0.2.1", "app")
		g.wait("192.0.2.2", "app")
		g.wait("192.0.2.2", "other")
		g.wait("2001:db8::2", "other") // of the same /64
		g.wait("192.0.2.3", "root")    // being guessed at
		g.wait("192.0.2.4", "app")
		g.wait("192.0.2.5", "app")
		leave(true)
		synctest.Wait()
		want := "192.0.2.5 app, 192.0.2.4 app, 192.0.2.3 root, 192.0.2.2 other, 2001:db8::2 other, " +
			"192.0.2.2 app, 192.0.2.1 app"
		if got := strings.Join(g.order, ", "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

// TestAuthKnownAddress: an address that has been right about a name goes first although that name is
// guessed at.
func TestAuthKnownAddress(t *testing.T) {
	g := newAuthGate(time.Now)
	leave, _ := g.enter(context.Background(), key("192.0.2.1", "app"))
	leave(true)
	for i := range authUserGuess {
		leave, _ := g.enter(context.Background(), key(fmt.Sprintf("198.51.100.%d", i), "app"))
		leave(false)
	}
	if known, other := g.rank(key("192.0.2.1", "app")), g.rank(key("192.0.2.2", "app")); known != 0 ||
		other != 1 {
		t.Errorf("ranks %d and %d", known, other)
	}
}

// TestAuthPutOff: addresses that waited in vain do not come before new ones when they try again.
func TestAuthPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateTest{authGate: newAuthGate(time.Now)}
		leave, _ := g.enter(context.Background(), key("192.0.2.9", "x"))
		g.wait("198.51.100.1", "app")
		time.Sleep(authWait) // put off, without a check
		synctest.Wait()
		g.wait("192.0.2.1", "honest")
		g.wait("198.51.100.1", "app")
		leave(true)
		synctest.Wait()
		want := "198.51.100.1 app refused, 192.0.2.1 honest, 198.51.100.1 app"
		if got := strings.Join(g.order, ", "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

// TestAuthSuspects: of those who have failed only a few wait; the others are refused without a check, and
// nobody waits for ever. Failures are forgotten.
func TestAuthSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateTest{authGate: newAuthGate(time.Now)}
		g.fail("192.0.2.1", "app", 1)
		leave, _ := g.enter(context.Background(), key("192.0.2.9", "x"))
		for range 20 {
			g.wait("192.0.2.1", "app")
		}
		if len(g.order) != 20-authSuspects {
			t.Errorf("%d were refused at once", len(g.order))
		}
		began := time.Now()
		_, err := g.enter(context.Background(), key("192.0.2.7", "app"))
		if took := time.Since(began); !errors.Is(err, errAuthBusy) || took != authWait {
			t.Errorf("%v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := g.enter(ctx, key("192.0.2.7", "app")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		leave(true)
		synctest.Wait()
		time.Sleep(authForget + time.Second)
		if r := g.rank(key("192.0.2.1", "app")); r != 0 {
			t.Errorf("rank %d after the failures should be forgotten", r)
		}
	})
}

// TestAuthMemoryIsBounded: names and addresses without end take no more than so much memory.
func TestAuthMemoryIsBounded(t *testing.T) {
	g := newAuthGate(time.Now)
	for i := range 3 * authMaxEntries {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		leave, err := g.enter(context.Background(), authKeyOf(addr, fmt.Sprint("user", i)))
		if err != nil {
			t.Fatal(err)
		}
		leave(i%2 == 0)
	}
	for _, n := range []int{len(g.addrs), len(g.users), len(g.pairs), len(g.good), len(g.late)} {
		if n > authMaxEntries {
			t.Errorf("%d entries", n)
		}
	}
}

// TestAuthBusyReply: who is put off is told so, not that the password is wrong.
func TestAuthBusyReply(t *testing.T) {
	o := testOptions(&store{})
	o.Access.Users, o.Access.AuthInClear = testUsers(t, "app", "secret"), true
	s, addr := start(t, o, Listen{})
	leave, _ := s.auth.enter(context.Background(), key("192.0.2.9", "x"))
	defer leave(false)
	s.auth.mu.Lock()
	s.auth.addrs.add(key("127.0.0.1", "app").from, time.Now())
	for range authSuspects {
		s.auth.waiting = append(s.auth.waiting,
			&authTry{key: key("127.0.0.1", "app"), ready: make(chan error, 1)})
	}
	s.auth.mu.Unlock()
	c := hello(t, addr)
	c.say("AUTH PLAIN AGFwcABzZWNyZXQ=", "454 4.7.0 Too many failed logins")
	c.Close()
}
