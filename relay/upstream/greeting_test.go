package upstream

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// TestSilentServer: no greeting is a fault after half a minute, whose words fit port and mode.
func TestSilentServer(t *testing.T) {
	tests := []struct {
		port  int
		mode  TLS
		stage diagnose.Stage
		kind  diagnose.NetKind
		want  string
	}{
		{465, TLS{Mode: TLSRequired}, diagnose.StageGreeting, diagnose.NetNoGreeting,
			`port 465 usually speaks TLS from the first byte: set tls = "implicit"`},
		{465, TLS{}, diagnose.StageGreeting, diagnose.NetNoGreeting, `set tls = "implicit"`},
		{587, TLS{Mode: TLSRequired}, diagnose.StageGreeting, diagnose.NetNoGreeting,
			`if the server speaks TLS from the first byte, set tls = "implicit"`},
		{2525, TLS{Mode: TLSOpportunistic}, diagnose.StageGreeting, diagnose.NetNoGreeting,
			`set tls = "implicit"`},
		{587, TLS{Mode: TLSImplicit}, diagnose.StageTLS, diagnose.NetTimeout,
			`port 587 usually starts without TLS: set tls = "starttls"`},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			p := pipePool(t, &pipeServer{mute: "greeting"},
				func(o *Options) { o.Port, o.TLS = tt.port, tt.mode })
			began := time.Now()
			f := send(t, p, message(content, "a@b.test"))[0].r.Fault
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("%d %s: took %v", tt.port, tt.mode.Mode, took)
			}
			if f == nil || f.Stage != tt.stage || f.NetErr.Kind != tt.kind ||
				!strings.Contains(f.NetErr.Text, tt.want) {
				t.Errorf("%d %s: %+v", tt.port, tt.mode.Mode, f)
			}
			p.Close()
		})
	}
}

// TestSilenceIsLogged: once, after ten seconds, and again only after a greeting has come in between.
func TestSilenceIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log smtptest.Buffer
		silent, sound := &pipeServer{mute: "greeting"}, &pipeServer{}
		var server atomic.Pointer[pipeServer]
		server.Store(silent)
		p := pipePool(t, silent, func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				return server.Load().dial(ctx, network, address)
			}
		})
		lines := func(after string, want int) {
			t.Helper()
			if n := strings.Count(log.String(), "still no greeting"); n != want {
				t.Errorf("%s: %d lines, want %d:\n%s", after, n, want, log.String())
			}
		}
		time.AfterFunc(9*time.Second, func() { lines("9 seconds", 0) })
		time.AfterFunc(11*time.Second, func() { lines("11 seconds", 1) })
		p.Probe(t.Context())
		p.Probe(t.Context())
		lines("two probes", 1)
		server.Store(sound)
		if f := p.Probe(t.Context()); f != nil {
			t.Fatal(f)
		}
		server.Store(silent)
		p.Probe(t.Context())
		lines("a greeting between", 2)
		for _, want := range []string{"host=192.0.2.1", "remote=192.0.2.1:25", "greeting_timeout=30s",
			"implicit"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %s:\n%s", want, log.String())
			}
		}
		p.Close()
	})
}

// TestClearToImplicitPort speaks to a real server that waits for a TLS handshake.
func TestClearToImplicitPort(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	s := smtptest.New(t, smtptest.Options{TLS: id.Server(), ImplicitTLS: true})
	for _, mode := range []TLS{{}, {Mode: TLSOpportunistic}, {Mode: TLSRequired}} {
		p := newPool(t, s.Addr(), func(o *Options) { o.TLS, o.Timeouts.Greeting = mode, 50*time.Millisecond })
		f := send(t, p, message(content, "a@b.test"))[0].r.Fault
		if f == nil || f.NetErr.Kind != diagnose.NetNoGreeting ||
			!strings.Contains(f.NetErr.Text, `set tls = "implicit"`) {
			t.Errorf("%s: %+v", mode.Mode, f)
		}
	}
}

// TestOddGreetings: what comes instead of a greeting, and what is made of it.
func TestOddGreetings(t *testing.T) {
	const hint = `set tls = "implicit"`
	tests := []struct {
		name, says string
		port       int
		kind       diagnose.NetKind
		hint       bool
	}{
		{"TLS alert", "\x15\x03\x01\x00\x02\x02\x28", 587, diagnose.NetTLSProtocol, true},
		{"TLS alert with a line end", "\x15\x03\x03\x00\x02\x02\x0a", 587, diagnose.NetTLSProtocol, true},
		{"closed at 465", "", 465, diagnose.NetClosed, true},
		{"closed at 25", "", 25, diagnose.NetClosed, false},
		{"a web server", "HTTP/1.1 400 Bad Request\r\n", 25, diagnose.NetProtocol, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newRaw(t, func(c *peer) { c.say(tt.says) })
			p := newPool(t, "mail.test:25", func(o *Options) {
				o.Port, o.TLS = tt.port, TLS{Mode: TLSRequired}
				o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
				}
				o.Dial = func(context.Context, string, string) (net.Conn, error) {
					return net.Dial("tcp", s.addr)
				}
			})
			f := p.Probe(t.Context())
			if f == nil || f.Stage != diagnose.StageGreeting || f.NetErr.Kind != tt.kind ||
				strings.Contains(f.NetErr.Text, hint) != tt.hint {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestGreetingCancelled: who cancels hears of no timeout, and nothing is logged.
func TestGreetingCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log smtptest.Buffer
		p := pipePool(t, &pipeServer{mute: "greeting"},
			func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		p.Relay(ctx, message(content, "a@b.test"), func() *relay.Transaction { return nil },
			func(_ *relay.Transaction, r relay.Result) {
				if r.Fault == nil || r.Fault.NetErr.Kind != diagnose.NetCanceled {
					t.Errorf("%+v", r)
				}
			})
		time.Sleep(time.Minute)
		if log.String() != "" {
			t.Error(log.String())
		}
		p.Close()
	})
}
