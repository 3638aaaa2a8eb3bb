package upstream

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

const eightBitContent = "Subject: x\r\n\r\n\xc3\xbc\r\n"

// wholeOffer is what the tests' upstream offers as a rule.
const wholeOffer = "250-x\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-PIPELINING\r\n" +
	"250 SIZE 50000000\r\n"

// less is wholeOffer without one extension.
func less(extension string) string {
	return strings.Replace(wholeOffer, "250-"+extension+"\r\n", "", 1)
}

// sized is wholeOffer with another limit.
func sized(limit string) string { return strings.Replace(wholeOffer, "50000000", limit, 1) }

// changing is an upstream whose reply to EHLO a test can change.
type changing struct {
	*smtptest.Server
	ehlo atomic.Value // string
}

func newChanging(t *testing.T, ehlo string) *changing {
	s := &changing{}
	s.ehlo.Store(ehlo)
	s.Server = smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if strings.HasPrefix(c.Line, "EHLO") {
			return smtptest.Action{Bytes: []byte(s.ehlo.Load().(string))}
		}
		return smtptest.Action{}
	}})
	return s
}

// needing is a message that needs an extension.
func needing(extension string) *relay.Transaction {
	m := message(content, "a@b.test")
	switch extension {
	case "8BITMIME":
		m = message(eightBitContent, "a@b.test")
	case "SMTPUTF8":
		m = message(content, "jörg@b.test")
	case "DSN":
		m.Message.Recipients[0].Notify = relay.NotifyNever
	case "SIZE":
		m = message(strings.Repeat("0123456789\r\n", 20_000), "a@b.test")
	}
	return m
}

// newly sends over a new session.
func newly(t *testing.T, p *Pool, ts ...*relay.Transaction) []outcome {
	t.Helper()
	for c := p.get(); c != nil; c = p.get() {
		c.quit()
	}
	return send(t, p, ts...)
}

// waits reports whether a is that of a message which waits for an extension.
func waits(a relay.Attempt) bool {
	return a.Stage == diagnose.StageHello && a.NetErr.Kind == diagnose.NetExtensionMissing
}

// TestExtensionMissing: what the upstream offered before and does not offer now makes the message wait that
// needs it, and no other; the session that lacks it is ended.
func TestExtensionMissing(t *testing.T) {
	tests := []struct{ extension, then string }{
		{"8BITMIME", less("8BITMIME")},
		{"8BITMIME", "250 x\r\n"},
		{"8BITMIME", "502 5.5.1 Command not implemented\r\n"},
		{"SMTPUTF8", less("SMTPUTF8")},
		{"SMTPUTF8", "500 what\r\n"},
		{"DSN", less("DSN")},
		{"DSN", "504 what\r\n"},
		{"SIZE", sized("100000")},
		{"SIZE", sized("10")},
	}
	for _, tt := range tests {
		t.Run(tt.extension+" "+tt.then, func(t *testing.T) {
			s := newChanging(t, wholeOffer)
			p := newPool(t, s.Addr(), nil)
			if a := attempts(t, send(t, p, needing(tt.extension))[0])[0]; !a.Accepted() {
				t.Fatalf("while it is offered: %+v", a)
			}
			before, _ := p.Capabilities()
			s.ehlo.Store(tt.then)
			out := newly(t, p, message("x\r\n", "1@b.test"), needing(tt.extension),
				message("x\r\n", "2@b.test"))
			if a := attempts(t, out[1])[0]; !waits(a) {
				t.Errorf("missing: %+v", a)
			}
			if !attempts(t, out[0])[0].Accepted() || !attempts(t, out[2])[0].Accepted() {
				t.Errorf("other messages: %+v", out)
			}
			after, _ := p.Capabilities()
			if after.Pipelining, after.RcptMax = before.Pipelining, before.RcptMax; after != before {
				t.Errorf("one session made %+v of %+v", after, before)
			}
			s.ehlo.Store(wholeOffer) // and the connection that lacks it gives way to a new one
			if a := attempts(t, send(t, p, needing(tt.extension))[0])[0]; !a.Accepted() {
				t.Errorf("offered again: %+v", a)
			}
		})
	}
}

// TestFailedEHLO: what HELO does not offer is not missing for good, even if the upstream was never heard
// before. A 4xx to EHLO is a fault.
func TestFailedEHLO(t *testing.T) {
	for _, ehlo := range []string{"500 what\r\n", "502 5.5.1 what\r\n", "550 5.7.1 no\r\n",
		"554 5.3.0 Transaction failed\r\n"} {
		for _, extension := range []string{"8BITMIME", "SMTPUTF8"} {
			s := newChanging(t, ehlo)
			p := newPool(t, s.Addr(), nil)
			out := send(t, p, needing(extension), needing("DSN"), message(content, "b@b.test"))
			if a := attempts(t, out[0])[0]; !waits(a) {
				t.Errorf("%q, %s: %+v", ehlo, extension, a)
			}
			if !attempts(t, out[1])[0].Accepted() || !attempts(t, out[2])[0].Accepted() {
				t.Errorf("%q: %+v", ehlo, out)
			}
			if c, ok := p.Capabilities(); ok {
				t.Errorf("%q: HELO told capabilities: %+v", ehlo, c)
			}
		}
	}
	for _, ehlo := range []string{"421 4.3.2 busy\r\n", "450 later\r\n"} {
		f := send(t, newPool(t, newChanging(t, ehlo).Addr(), nil), needing("8BITMIME"))[0].r.Fault
		if f == nil || f.Stage != diagnose.StageHello || f.Reply.Raw != ehlo {
			t.Errorf("%q: %+v", ehlo, f)
		}
	}
}

// TestImpossibleSize: a limit below what every server takes is ignored.
func TestImpossibleSize(t *testing.T) {
	s := newChanging(t, sized("10"))
	p := newPool(t, s.Addr(), nil)
	if a := attempts(t, send(t, p, needing("SIZE"))[0])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	s.ehlo.Store(sized("100000")) // the first limit that is believed
	if a := attempts(t, newly(t, p, needing("SIZE"))[0])[0]; a.NetErr.Kind != diagnose.NetSizeExceeded {
		t.Errorf("%+v", a)
	}
}

// TestLessIsBelieved: three sessions over an hour make less the truth, with no more in between.
func TestLessIsBelieved(t *testing.T) {
	tests := []struct {
		extension, then string
		want            diagnose.NetKind // "" goes
	}{
		{"8BITMIME", less("8BITMIME"), diagnose.NetEightUnavailable},
		{"8BITMIME", "502 what\r\n", diagnose.NetEightUnavailable},
		{"SMTPUTF8", less("SMTPUTF8"), diagnose.NetUTF8Unavailable},
		{"SIZE", sized("100000"), diagnose.NetSizeExceeded},
		{"SIZE", sized("10"), ""},
		{"DSN", less("DSN"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.extension+" "+tt.then, func(t *testing.T) {
			var now atomic.Int64
			s := newChanging(t, wholeOffer)
			p := newPool(t, s.Addr(),
				func(o *Options) { o.Now = func() time.Time { return time.Unix(now.Load(), 0) } })
			at := func(minute int64) relay.Attempt {
				now.Store(60 * minute)
				return attempts(t, newly(t, p, needing(tt.extension))[0])[0]
			}
			at(0)
			s.ehlo.Store(tt.then)
			for _, minute := range []int64{10, 30, 69} {
				if a := at(minute); !waits(a) {
					t.Errorf("%d min: %+v", minute, a)
				}
			}
			s.ehlo.Store(wholeOffer)
			if a := at(70); !a.Accepted() {
				t.Errorf("offered again: %+v", a)
			}
			s.ehlo.Store(tt.then)
			for _, minute := range []int64{80, 139} {
				if a := at(minute); !waits(a) {
					t.Errorf("%d min: %+v", minute, a)
				}
			}
			if a := at(140); a.NetErr.Kind != tt.want || a.Accepted() != (tt.want == "") {
				t.Errorf("after an hour: %+v", a)
			}
		})
	}
}

// TestTwoSessionsAreNotEnough: an upstream that is rarely spoken to may show the same odd session twice.
func TestTwoSessionsAreNotEnough(t *testing.T) {
	var b belief
	at := func(hour int) time.Time { return time.Unix(int64(3600*hour), 0) }
	b.learn(1, true, at(0))
	b.learn(0, true, at(1))
	if b.learn(0, true, at(9)); b.value != 1 {
		t.Errorf("believed after two: %+v", b)
	}
	if b.learn(0, true, at(9)); b.value != 0 {
		t.Errorf("not believed after three: %+v", b)
	}
}

// addresses are Lookup and Dial for a host with the servers' addresses, in that order.
func addresses(servers ...string) func(*Options) {
	return func(o *Options) {
		o.Lookup = func(context.Context, string) (ips []netip.Addr, err error) {
			for i := range servers {
				ips = append(ips, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
			}
			return ips, nil
		}
		o.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
			at := netip.MustParseAddrPort(address).Addr().As4()
			return net.Dial("tcp", servers[at[3]])
		}
	}
}

// TestExtensionAtAnotherAddress: a message goes to the address that offers what it needs.
func TestExtensionAtAnotherAddress(t *testing.T) {
	poor, rich := newChanging(t, wholeOffer), newChanging(t, wholeOffer)
	p := newPool(t, "mail.test:25", addresses(poor.Addr(), rich.Addr()))
	send(t, p, message(content, "a@b.test"))
	poor.ehlo.Store(less("8BITMIME"))
	out := newly(t, p, message("x\r\n", "1@b.test"), needing("8BITMIME"), needing("8BITMIME"))
	for i, at := range []string{"192.0.2.0:25", "192.0.2.1:25", "192.0.2.1:25"} {
		if a := attempts(t, out[i])[0]; !a.Accepted() || a.Remote != at {
			t.Errorf("message %d: %+v, want it taken at %s", i, a, at)
		}
	}
	rich.Close()
	if a := attempts(t, newly(t, p, needing("8BITMIME"))[0])[0]; !waits(a) || a.Remote != "192.0.2.0:25" {
		t.Errorf("the other address is down: %+v", a)
	}
}

// TestAuthAtAnotherAddress: an address that offers no AUTH is passed over, since no credentials were tried
// there.
func TestAuthAtAnotherAddress(t *testing.T) {
	poor := smtptest.New(t, smtptest.Options{})
	rich := smtptest.New(t, smtptest.Options{Users: map[string]string{"user": "secret"}, RequireAuth: true})
	p := newPool(t, "mail.test:25", func(o *Options) {
		addresses(poor.Addr(), rich.Addr())(o)
		o.Auth, o.AllowPlaintextAuth = secret("secret"), true
	})
	if a := attempts(t, send(t, p, message(content, "a@b.test"))[0])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	rich.Close()
	if f := newly(t, p, message(content, "a@b.test"))[0].r.Fault; f == nil {
		t.Error("no fault where no address offers AUTH")
	}
}

// TestStartTLSMissing: mode opportunistic does not go on in clear because one session, or one address, offers
// less than the upstream did; an hour later it does.
func TestStartTLSMissing(t *testing.T) {
	var now atomic.Int64
	var strip atomic.Value // the reply to EHLO in clear, or ""
	strip.Store("")
	id := smtptest.NewCertificate(t, "mail.test")
	s := smtptest.New(t, smtptest.Options{TLS: id.Server(), Script: func(c smtptest.Command) smtptest.Action {
		if ehlo := strip.Load().(string); strings.HasPrefix(c.Line, "EHLO") && !c.TLS && ehlo != "" {
			return smtptest.Action{Bytes: []byte(ehlo)}
		}
		return smtptest.Action{}
	}})
	for _, ehlo := range []string{"250 x\r\n", "502 what\r\n"} {
		now.Store(0)
		strip.Store("")
		p := newPool(t, s.Addr(), func(o *Options) {
			o.TLS, o.Now = TLS{Mode: TLSOpportunistic}, func() time.Time { return time.Unix(now.Load(), 0) }
		})
		if a := attempts(t, send(t, p, message(content, "a@b.test"))[0])[0]; a.TLS == "" || !a.Accepted() {
			t.Fatalf("%+v", a)
		}
		strip.Store(ehlo)
		for _, second := range []int64{60, 120, 3659} {
			now.Store(second)
			f := newly(t, p, message(content, "a@b.test"))[0].r.Fault
			if f == nil || f.Stage != diagnose.StageTLS || f.NetErr.Kind != diagnose.NetExtensionMissing {
				t.Errorf("%q after %d s: %+v", ehlo, second, f)
			}
		}
		now.Store(3660)
		if a := attempts(t, newly(t, p, message(content, "a@b.test"))[0])[0]; a.TLS != "" || !a.Accepted() {
			t.Errorf("%q after an hour: %+v", ehlo, a)
		}
	}
}
