package smtpd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// bounceBox is a Take that remembers.
type bounceBox struct {
	mu   sync.Mutex
	got  []Bounce
	fail error
}

func (b *bounceBox) take(_ context.Context, m *Bounce) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.got = append(b.got, *m)
	return nil
}

// taken are the mails that were taken.
func (b *bounceBox) taken() []Bounce {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Bounce(nil), b.got...)
}

// bounceDoor serves a listener for bounce mail to b+...@bounces.test.
func bounceDoor(t *testing.T, keep int, change func(*Options)) (addr string, box *bounceBox, st *store) {
	t.Helper()
	box, st = &bounceBox{}, &store{}
	o := testOptions(st)
	o.Access.Users = testUsers(t, "app", "secret")
	o.Bounces = &Bounces{Take: box.take, Keep: keep, Expected: func(address string) bool {
		return strings.HasPrefix(address, "b+") && strings.HasSuffix(address, "@bounces.test")
	}}
	if change != nil {
		change(&o)
	}
	_, addr = start(t, o, Listen{Bounces: true})
	return addr, box, st
}

const aBounce = "From: MAILER-DAEMON@mx.test\r\nSubject: Undelivered\r\n\r\n<joe@example.test>: no\r\n"

// report sends a bounce and checks the last reply.
func (c *client) report(from, to, content, prefix string) string {
	c.t.Helper()
	c.say("MAIL FROM:<"+from+">", "250")
	c.say("RCPT TO:<"+to+">", "250")
	c.say("DATA", "354")
	return c.say(strings.TrimSuffix(dotStuff(content), "\r\n")+"\r\n.", prefix)
}

// TestBouncesAreTaken: the null sender and any other one, with the content as it came and nothing of ours,
// and nothing of it goes to the spool.
func TestBouncesAreTaken(t *testing.T) {
	addr, box, st := bounceDoor(t, 1<<20, nil)
	c := hello(t, addr)
	c.report("", "b+1@bounces.test", aBounce, "250 2.0.0 Ok: bounce mail taken")
	c.report("feedback@isp.test", "b+2@bounces.test", "Subject: x\r\n\r\n.dot\r\n", "250")
	c.say("MAIL FROM:<> BODY=8BITMIME SMTPUTF8 SIZE=300", "250")
	c.say("RCPT TO:<b+3@bounces.test> NOTIFY=NEVER", "250")
	c.say("RCPT TO:<b+4@bounces.test>", "250")
	c.say("DATA", "354")
	c.say("Subject: späť\r\n\r\n.", "250")
	got := box.taken()
	if len(got) != 3 || got[0].From != "" || got[0].Content == nil || string(got[0].Content) != aBounce ||
		got[0].Peer != "127.0.0.1" || got[0].Hello != "client.test" || got[0].Cut {
		t.Fatalf("took %+v", got)
	}
	if got[1].From != "feedback@isp.test" || string(got[1].Content) != "Subject: x\r\n\r\n.dot\r\n" {
		t.Errorf("took %+v", got[1])
	}
	if to := fmt.Sprint(got[2].To); to != "[b+3@bounces.test b+4@bounces.test]" {
		t.Errorf("took for %s", to)
	}
	if n := len(st.messages()); n != 0 {
		t.Errorf("%d messages went to the spool", n)
	}
}

// TestBouncesRelayNothing: a listener for bounce mail takes nothing for anybody else, from nobody: neither
// from a client whose network may send elsewhere, nor with a password.
func TestBouncesRelayNothing(t *testing.T) {
	addr, box, st := bounceDoor(t, 1<<20, nil)
	c := dial(t, addr)
	c.want("220 ")
	if ehlo := c.say("EHLO client.test", "250"); strings.Contains(ehlo, "AUTH") {
		t.Errorf("offers AUTH: %s", ehlo)
	}
	c.say("AUTH PLAIN AGFwcABzZWNyZXQ=", "502 5.5.1")
	c.say("MAIL FROM:<app@own.test>", "250")
	for _, to := range []string{
		"joe@example.test", "b@bounces.test", "b+1@other.test", "b+1%victim.test@other.test",
		`"b+1@bounces.test"@victim.test`, "@bounces.test:joe@example.test", "postmaster",
		"postmaster@bounces.test",
	} {
		if r := c.say("RCPT TO:<"+to+">", "550 5.1.1"); !strings.Contains(r, "only bounce mail") {
			t.Errorf("to %s: %s", to, r)
		}
	}
	c.say("DATA", "554")
	if len(box.taken())+len(st.messages()) != 0 {
		t.Errorf("took %d, stored %d", len(box.taken()), len(st.messages()))
	}
	if n := len(st.refusals()); n < 8 {
		t.Errorf("%d refusals recorded", n)
	}
}

// TestBouncesCannotBeGuessed: who tries one address after another is thrown out.
func TestBouncesCannotBeGuessed(t *testing.T) {
	addr, _, _ := bounceDoor(t, 1<<20, func(o *Options) { o.Limits.Errors = 3 })
	c := hello(t, addr)
	c.say("MAIL FROM:<>", "250")
	c.say("RCPT TO:<a@bounces.test>", "550")
	c.say("RCPT TO:<c@bounces.test>", "550")
	c.say("RCPT TO:<d@bounces.test>", "550")
	c.want("421")
}

// TestBouncesInTrouble: what cannot be kept comes again, and a person's mail goes back to the person.
func TestBouncesInTrouble(t *testing.T) {
	addr, box, st := bounceDoor(t, 1<<20, nil)
	c := hello(t, addr)
	box.fail = errors.New("disk full: /var/secret")
	if r := c.report("", "b+1@bounces.test", aBounce, "451 4.3.0"); strings.Contains(r, "secret") {
		t.Errorf("tells the client: %s", r)
	}
	box.fail = fmt.Errorf("wrapped: %w", ErrNotBounce)
	c.report("joe@example.test", "b+1@bounces.test", "Subject: Re: x\r\n\r\nHello.\r\n",
		"550 5.7.1 This address takes bounce mail only")
	box.fail = nil
	c.report("", "b+1@bounces.test", aBounce, "250")
	if len(box.taken()) != 1 || len(st.messages()) != 0 {
		t.Errorf("took %d", len(box.taken()))
	}
}

// TestBouncesAreCut: of a large bounce the beginning is kept, and of one over the limit nothing.
func TestBouncesAreCut(t *testing.T) {
	addr, box, _ := bounceDoor(t, len(aBounce), func(o *Options) { o.Limits.MessageSize = 64 << 10 })
	c := hello(t, addr)
	c.report("", "b+1@bounces.test", aBounce, "250")
	c.report("", "b+2@bounces.test", aBounce+"x\r\n", "250")
	c.report("", "b+3@bounces.test", aBounce+strings.Repeat("0123456789\r\n", 6<<10), "552 5.3.4")
	c.report("", "b+4@bounces.test", aBounce, "250")
	got := box.taken()
	if len(got) != 3 {
		t.Fatalf("took %d", len(got))
	}
	for i, cut := range []bool{false, true, false} {
		if string(got[i].Content) != aBounce || got[i].Cut != cut {
			t.Errorf("%d: kept %q, cut: %v", i, got[i].Content, got[i].Cut)
		}
	}
}

// TestBouncesOfOldMailers: lines may end in any way, which for other mail they may not.
func TestBouncesOfOldMailers(t *testing.T) {
	addr, box, _ := bounceDoor(t, 1<<20, nil)
	c := hello(t, addr)
	c.say("MAIL FROM:<>", "250")
	c.say("RCPT TO:<b+1@bounces.test>", "250")
	c.say("DATA", "354")
	c.say("Subject: x\n\n.\nno\n\r\n.", "250")
	if got := string(box.taken()[0].Content); got != "Subject: x\r\n\r\n.\r\nno\r\n\r\n" {
		t.Errorf("took %q", got)
	}
}

// TestBouncesNeedAReturnPath: without one the listener does not start, and a reload does not take it away.
func TestBouncesNeedAReturnPath(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	const says = "role bounces without a return path"
	if err := s.admit(&listener{conf: Listen{Addr: "127.0.0.1:25", Bounces: true}, server: s}); err == nil ||
		!strings.Contains(err.Error(), says) {
		t.Errorf("admit says %v", err)
	}
	o.Bounces = &Bounces{Take: new(bounceBox).take, Keep: 1, Expected: func(string) bool { return true }}
	srv, addr := start(t, o, Listen{Bounces: true})
	hello(t, addr) // it listens
	if err := srv.Reload(o); err != nil {
		t.Error(err)
	}
	o.Bounces = nil
	if err := srv.Reload(o); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("Reload says %v", err)
	}
	o.Bounces = &Bounces{}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "field of Bounces") {
		t.Errorf("New says %v", err)
	}
}
