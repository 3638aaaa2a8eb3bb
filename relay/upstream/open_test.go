package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// caFile writes the authority of id.
func caFile(t *testing.T, id *smtptest.Identity) string {
	t.Helper()
	return writeFile(t, "ca.pem", id.CAPEM)
}

func writeFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(f, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func secret(s string) *Credentials {
	return &Credentials{
		Username:   "user",
		Password:   func() (string, error) { return s, nil },
		Mechanisms: []string{"PLAIN", "LOGIN", "CRAM-MD5"},
	}
}

func TestTLS(t *testing.T) {
	good := smtptest.NewCertificate(t, "127.0.0.1", "mail.test")
	other := smtptest.NewCertificate(t, "other.test")
	stale, err := smtptest.CertificateAt(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour),
		"127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	leaf := sha256.Sum256(good.Server().Certificates[0].Certificate[0])
	pin := hex.EncodeToString(leaf[:])
	old := good.Server()
	old.MaxVersion = tls.VersionTLS12
	starttls := func(c *tls.Config) smtptest.Options { return smtptest.Options{TLS: c} }
	implicit := func(c *tls.Config) smtptest.Options { return smtptest.Options{TLS: c, ImplicitTLS: true} }
	scripted := func(c *tls.Config, reply string) smtptest.Options {
		return smtptest.Options{TLS: c, Script: at(diagnose.StageTLS, reply, smtptest.EndNot)}
	}
	ca, staleCA, otherCA := caFile(t, good), caFile(t, stale), caFile(t, other)
	tests := []struct {
		name   string
		server smtptest.Options
		tls    TLS
		want   string           // Attempt.TLS of a success
		kind   diagnose.NetKind // of the fault
		raw    string           // its reply
	}{
		{"none", starttls(good.Server()), TLS{}, "", "", ""},
		{"starttls", starttls(good.Server()), TLS{Mode: TLSRequired, CAFile: ca}, "TLS1.3", "", ""},
		{"implicit", implicit(good.Server()), TLS{Mode: TLSImplicit, CAFile: ca}, "TLS1.3", "", ""},
		{"opportunistic", starttls(other.Server()), TLS{Mode: TLSOpportunistic}, "TLS1.3", "", ""},
		{"opportunistic, not offered", smtptest.Options{}, TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, refused", scripted(good.Server(), "454 4.7.0 not now\r\n"),
			TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, handshake fails", starttls(old),
			TLS{Mode: TLSOpportunistic, MinVersion: tls.VersionTLS13}, "", "", ""},
		{"opportunistic, garbage for a handshake", scripted(good.Server(), "220 go\r\nsurprise"),
			TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, 250 to STARTTLS", scripted(good.Server(), "250 2.0.0 Ok\r\n"),
			TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, 354 to STARTTLS", scripted(good.Server(), "354 go\r\n"), TLS{Mode: TLSOpportunistic},
			"", "", ""},
		{"250 to STARTTLS", scripted(good.Server(), "250 2.0.0 Ok\r\n"), TLS{Mode: TLSRequired, CAFile: ca},
			"", diagnose.NetProtocol, ""},
		{"221 to STARTTLS", scripted(good.Server(), "221 2.0.0 Bye\r\n"), TLS{Mode: TLSRequired, CAFile: ca},
			"", diagnose.NetProtocol, ""},
		{"opportunistic, trust configured", starttls(good.Server()),
			TLS{Mode: TLSOpportunistic, CAFile: otherCA}, "", diagnose.NetTLSAuthority, ""},
		{"opportunistic, trust configured, not offered", smtptest.Options{},
			TLS{Mode: TLSOpportunistic, CAFile: ca}, "", diagnose.NetTLSUnavailable, ""},
		{"not offered", smtptest.Options{}, TLS{Mode: TLSRequired}, "", diagnose.NetTLSUnavailable, ""},
		{"refused", scripted(good.Server(), "454 4.7.0 not now\r\n"), TLS{Mode: TLSRequired}, "", "",
			"454 4.7.0 not now\r\n"},
		{"injected", scripted(good.Server(), "220 go\r\n250 injected\r\n"), TLS{Mode: TLSRequired}, "",
			diagnose.NetProtocol, ""},
		{"unknown authority", starttls(good.Server()), TLS{Mode: TLSRequired}, "", diagnose.NetTLSAuthority,
			""},
		{"wrong name", starttls(good.Server()),
			TLS{Mode: TLSRequired, CAFile: ca, ServerName: "elsewhere.test"}, "", diagnose.NetTLSName, ""},
		{"server name", starttls(good.Server()), TLS{Mode: TLSRequired, CAFile: ca, ServerName: "mail.test"},
			"TLS1.3", "", ""},
		{"expired", implicit(stale.Server()), TLS{Mode: TLSImplicit, CAFile: staleCA}, "",
			diagnose.NetTLSExpired, ""},
		{"not verified", starttls(stale.Server()), TLS{Mode: TLSRequired, NoVerify: true}, "TLS1.3", "", ""},
		{"pinned", starttls(good.Server()),
			TLS{Mode: TLSRequired, Fingerprint: []string{strings.Repeat("00", 32), strings.ToUpper(pin)}},
			"TLS1.3", "", ""},
		{"wrong pin", starttls(good.Server()),
			TLS{Mode: TLSRequired, Fingerprint: []string{strings.Repeat("00:", 31) + "00"}}, "",
			diagnose.NetTLSPin, ""},
		{"version", starttls(old), TLS{Mode: TLSRequired, CAFile: ca, MinVersion: tls.VersionTLS13}, "",
			diagnose.NetTLSProtocol, ""},
		{"TLS 1.2", starttls(old), TLS{Mode: TLSRequired, CAFile: ca}, "TLS1.2", "", ""},
		{"implicit to a port in clear", smtptest.Options{}, TLS{Mode: TLSImplicit}, "",
			diagnose.NetTLSProtocol, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, tt.server)
			p := newPool(t, s.Addr(), func(o *Options) { o.TLS = tt.tls })
			for range 2 { // the second handshake may resume
				o := send(t, p, message(content, "a@b.test"))[0]
				if f := o.r.Fault; f != nil {
					if f.Stage != diagnose.StageTLS || f.NetErr.Kind != tt.kind || f.Reply.Raw != tt.raw {
						t.Fatalf("fault %+v", f)
					}
					if tt.kind == "" && tt.raw == "" {
						t.Fatalf("fault %+v", f)
					}
					continue
				}
				if a := attempts(t, o)[0]; !a.Accepted() || a.TLS != tt.want || tt.kind != "" ||
					tt.raw != "" {
					t.Errorf("%+v", a)
				}
				if c := p.get(); c != nil {
					c.quit()
				}
			}
		})
	}
}

// TestClientCertificate: it is shown to a server that asks.
func TestClientCertificate(t *testing.T) {
	id, client := smtptest.NewCertificate(t, "127.0.0.1"), smtptest.NewCertificate(t, "client.test")
	conf := id.Server()
	conf.ClientAuth, conf.ClientCAs = tls.RequireAndVerifyClientCert, client.Pool
	s := smtptest.New(t, smtptest.Options{TLS: conf})
	file := writeFile(t, "client.pem", append(client.CertPEM, client.KeyPEM...))
	with := newPool(t, s.Addr(),
		func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: caFile(t, id), CertFile: file} })
	if a := attempts(t, send(t, with, message(content, "a@b.test"))[0])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	without := newPool(t, s.Addr(),
		func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: caFile(t, id)} })
	if f := send(t, without, message(content, "a@b.test"))[0].r.Fault; f == nil ||
		f.Stage != diagnose.StageTLS || f.NetErr.Kind != diagnose.NetTLSProtocol {
		t.Errorf("without a certificate: %+v", f)
	}
}

// TestConnect: what goes wrong before the greeting, and each address in its turn.
func TestConnect(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	busy := smtptest.New(t, smtptest.Options{Script: at(diagnose.StageGreeting, "421 4.3.2 busy\r\n",
		smtptest.EndClose)})
	addrs := func(list ...string) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) (ips []netip.Addr, err error) {
			for _, a := range list {
				ips = append(ips, netip.MustParseAddr(a))
			}
			return ips, nil
		}
	}
	failing := func(err error) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) ([]netip.Addr, error) { return nil, err }
	}
	dials := map[string]func(context.Context) (net.Conn, error){
		"192.0.2.1:25": func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil,
				ctx.Err()
		},
		"192.0.2.2:25": func(context.Context) (net.Conn, error) {
			return nil,
				opError(syscall.ECONNREFUSED)
		},
		"192.0.2.3:25": func(context.Context) (net.Conn, error) { return net.Dial("tcp", busy.Addr()) },
		"192.0.2.4:25": func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.Addr()) },
		"192.0.2.5:25": func(context.Context) (net.Conn, error) {
			return nil,
				opError(syscall.EHOSTUNREACH)
		},
		"192.0.2.6:25": func(context.Context) (net.Conn, error) { return nil, opError(syscall.EMFILE) },
		"[2001:db8::1]:25": func(context.Context) (net.Conn, error) {
			return nil,
				opError(syscall.ENETUNREACH)
		},
		"[2001:db8::4]:25": func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.Addr()) },
	}
	tests := []struct {
		name   string
		lookup func(context.Context, string) ([]netip.Addr, error)
		remote string
		kind   diagnose.NetKind
		raw    string
		local  string
	}{
		{"one", addrs("192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"IPv6 first", addrs("192.0.2.4", "2001:db8::4"), "[2001:db8::4]:25", "", "", ""},
		{"IPv6 unreachable", addrs("2001:db8::1", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"by the local address's family", addrs("192.0.2.4", "2001:db8::4"), "192.0.2.4:25", "", "",
			"127.0.0.1"},
		{"no address of that family", addrs("192.0.2.4"), "", diagnose.NetLocal, "", "::1"},
		{"the first refuses", addrs("192.0.2.2", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"the first is silent", addrs("192.0.2.1", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"the first is busy", addrs("192.0.2.3", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"one is busy, the other dead", addrs("192.0.2.3", "192.0.2.2"), "192.0.2.3:25", "",
			"421 4.3.2 busy\r\n", ""},
		{"refused", addrs("192.0.2.2"), "192.0.2.2:25", diagnose.NetRefused, "", ""},
		{"unreachable", addrs("192.0.2.5", "192.0.2.2"), "192.0.2.5:25", diagnose.NetUnreachable, "", ""},
		{"no file descriptors", addrs("192.0.2.6"), "192.0.2.6:25", diagnose.NetLocal, "", ""},
		{"silent", addrs("192.0.2.1"), "192.0.2.1:25", diagnose.NetConnectTimeout, "", ""},
		{"not found", failing(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), "",
			diagnose.NetDNSNotFound, "", ""},
		{"name server failed",
			failing(&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}), "",
			diagnose.NetDNSFailure, "", ""},
		{"resolver broke", failing(errors.New("boom")), "", diagnose.NetDNSFailure, "", ""},
		{"no address", addrs(), "", diagnose.NetDNSNotFound, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, "mail.test:25", func(o *Options) {
				o.Lookup, o.Timeouts.Connect = tt.lookup, 400*time.Millisecond
				o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
					return dials[address](ctx)
				}
				if tt.local != "" {
					o.LocalAddrs = []netip.Addr{netip.MustParseAddr(tt.local)}
				}
			})
			o := send(t, p, message(content, "a@b.test"))[0]
			if f := o.r.Fault; f != nil {
				if f.Remote != tt.remote || f.NetErr.Kind != tt.kind || f.Reply.Raw != tt.raw ||
					f.Host != "mail.test" || tt.kind+diagnose.NetKind(tt.raw) == "" {
					t.Errorf("%+v", f)
				}
			} else if a := attempts(t, o)[0]; a.Remote != tt.remote ||
				tt.kind+diagnose.NetKind(tt.raw) != "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestTLSFailsAtOneAddress: the host's other addresses are tried, but not with credentials that were refused.
func TestTLSFailsAtOneAddress(t *testing.T) {
	good, stale := smtptest.NewCertificate(t, "mail.test"), smtptest.NewCertificate(t, "elsewhere.test")
	users := map[string]string{"user": "secret"}
	broken := smtptest.New(t, smtptest.Options{TLS: stale.Server(), Users: users})
	sound := smtptest.New(t, smtptest.Options{TLS: good.Server(), Users: users, RequireAuth: true})
	servers := map[string]*smtptest.Server{"192.0.2.1:587": broken, "192.0.2.2:587": sound,
		"192.0.2.3:587": sound}
	for _, tt := range []struct {
		password string
		stage    diagnose.Stage // of the fault
	}{{"secret", ""}, {"wrong", diagnose.StageAuth}} {
		p := newPool(t, "mail.test:587", func(o *Options) {
			o.TLS, o.Auth = TLS{Mode: TLSRequired, CAFile: caFile(t, good)}, secret(tt.password)
			o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"),
					netip.MustParseAddr("192.0.2.3")}, nil
			}
			o.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
				return net.Dial("tcp", servers[address].Addr())
			}
		})
		before := sound.Stats().Sessions
		o := send(t, p, message(content, "a@b.test"))[0]
		if f := o.r.Fault; f != nil && (tt.stage == "" || f.Stage != tt.stage) || f == nil && tt.stage != "" {
			t.Errorf("%s: %+v", tt.password, f)
		}
		if n := sound.Stats().Sessions - before; n != 1 {
			t.Errorf("%s: %d sessions with the sound addresses, want 1", tt.password, n)
		}
	}
}

func opError(no syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", no)}
}

// TestLocalAddress: connections come from the address that is configured.
func TestLocalAddress(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), func(o *Options) {
		o.LocalAddrs = []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.77")}
	})
	send(t, p, message(content, "a@b.test"))
	ses := s.Sessions()[0]
	if !strings.HasPrefix(ses.Remote, "127.0.0.77:") || ses.Hello != "client.test" {
		t.Errorf("%+v", ses)
	}
}

func TestNew(t *testing.T) {
	bad := TLS{
		Mode: TLSRequired, MinVersion: tls.VersionTLS12, CAFile: "/nonexistent", Fingerprint: []string{"00"},
		KeyFile: "k",
	}
	tests := []struct {
		change func(*Options)
		want   []string // in the error; nil: there is none
	}{
		{func(*Options) {}, nil},
		{func(o *Options) { o.Auth = secret("x") }, []string{"without TLS"}},
		{func(o *Options) { o.Auth, o.AllowPlaintextAuth = secret("x"), true }, nil},
		{func(o *Options) { o.Hello = "a b" }, []string{"EHLO name"}},
		{func(o *Options) { o.TLS.Mode = "maybe" }, []string{"TLS mode"}},
		{func(o *Options) { o.TLS.Mode = TLSRequired }, []string{"lowest TLS version must be set"}},
		{func(o *Options) { o.TLS = bad }, []string{"CA file", "fingerprint", "key file"}},
		{func(o *Options) { *o = Options{} }, []string{
			"Name must be set", "Host must be set", "port 0", "MaxAge must be set",
			"RcptMax must be set", "Grace must be set", "Timeouts.Connect must be set",
			"Timeouts.Greeting must be set",
			"Timeouts.Command must be set", "Timeouts.Data must be set", "Timeouts.Write must be set",
			"Timeouts.EndOfData must be set",
		}},
	}
	for _, tt := range tests {
		o := testOptions("x", 25)
		tt.change(&o)
		_, err := New(o)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: does not say %q", err, w)
			}
		}
	}
}

// TestHelloWithoutName: where there is no name EHLO gives the address.
func TestHelloWithoutName(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), func(o *Options) { o.Hello = "" })
	trial, fault := p.Try(t.Context())
	if fault != nil {
		t.Fatal(fault)
	}
	trial.Close()
	if hello := s.Sessions()[0].Hello; hello != "[127.0.0.1]" {
		t.Errorf("EHLO gave %q", hello)
	}
}
