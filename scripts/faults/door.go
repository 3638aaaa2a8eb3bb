package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"mailwhy/scripts/faults/traffic"
)

// testDoor sees that the relay does not start without an upstream, that a second one does not open the spool
// of the first, and that strangers cannot relay.
func testDoor(ctx context.Context, s *site, r *result) {
	t := newScenario(s, r, "")
	withoutUpstream := exec.CommandContext(ctx, s.binary, "serve", "--listen", s.freePort(), "--spool",
		t.setup.spool+"-none")
	if b, err := withoutUpstream.CombinedOutput(); err == nil || !strings.Contains(string(b), "upstream") {
		r.fail("I6 started without an upstream: %v %s", err, b)
	}
	_, port, _ := net.SplitHostPort(t.setup.listen)
	t.setup.listen = "0.0.0.0:" + port
	own := ownAddress()
	t.client.Addr = "127.0.0.1:" + port
	t.start(ctx)
	second := *t.setup
	second.listen, second.dir = s.freePort(), s.fresh("second")
	if p, err := second.startWithin(ctx, 10*time.Second); err == nil {
		p.kill()
		r.fail("I7 a second relay opened the spool of the first")
	}
	r.ran(2)
	if own == "" {
		r.note("no address but loopback: a stranger could not be played")
	} else {
		t.refusesStranger(ctx, net.JoinHostPort(own, port), "421 4.7.1")
		t.setup.env = append(t.setup.env, "MAILWHY_CLIENT=127.0.0.0/8")
		t.stop()
		t.start(ctx)
		t.refusesStranger(ctx, net.JoinHostPort(own, port), "550 5.7.1")
	}
	if err := t.client.Offer(ctx, traffic.Mix{Plain: true}.Message("d000001")); err != nil {
		r.fail("the client itself was refused: %v", err)
	}
	t.end(ctx, 10*time.Second)
}

// refusesStranger holds that a relay refuses a stranger with these codes: one without clients at the
// greeting, another one at RCPT.
func (t *scenario) refusesStranger(ctx context.Context, addr, codes string) {
	said := t.stranger(ctx, addr)
	if !strings.Contains(said, codes) {
		t.result.fail("I6 a stranger at %s was not refused with %s: %q", addr, codes, said)
		return
	}
	t.result.ran(1)
	t.result.note("a stranger was refused: %q", said)
}

// stranger tries to relay from an address that is not loopback, and returns what it is refused with.
func (t *scenario) stranger(ctx context.Context, addr string) string {
	s, err := traffic.Greet(ctx, addr)
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	for _, line := range []string{"MAIL FROM:<a@b.test>", "RCPT TO:<victim@sink.test>"} {
		if err := s.Command("%s", line); err != nil {
			return err.Error()
		}
	}
	return "accepted"
}

// ownAddress is an address of this machine that is not loopback, or "". What is said to it does not leave the
// machine.
func ownAddress() string {
	if name, err := os.Hostname(); err != nil || name == "" {
		return ""
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return ""
}
