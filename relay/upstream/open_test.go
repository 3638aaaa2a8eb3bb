package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"

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
	return &Credentials{Username: "user", Password: func() (string, error) { return s, nil }}
}

func TestTLS(t *testing.T) {
	good := smtptest.NewCertificate(t, "127.0.0.1", "mail.test")
	other := smtptest.NewCertificate(t, "other.test")
	stale, err := smtptest.CertificateAt(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour), "127.0.0.1")
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
		{"opportunistic, refused", scripted(good.Server(), "454 4.7.0 not now\r\n"), TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, handshake fails", starttls(old), TLS{Mode: TLSOpportunistic, MinVersion: tls.VersionTLS13}, "", "", ""},
		{"opportunistic, garbage for a handshake", scripted(good.Server(), "220 go\r\nsurprise"), TLS{Mode: TLSOpportunistic}, "", "", ""},
		{"opportunistic, trust configured", starttls(good.Server()), TLS{Mode: TLSOpportunistic, CAFile: otherCA}, "", diagnose.NetTLSAuthority, ""},
		{"opportunistic, trust configured, not offered", smtptest.Options{}, TLS{Mode: TLSOpportunistic, CAFile: ca}, "", diagnose.NetTLSUnavailable, ""},
		{"not offered", smtptest.Options{}, TLS{Mode: TLSRequired}, "", diagnose.NetTLSUnavailable, ""},
		{"refused", scripted(good.Server(), "454 4.7.0 not now\r\n"), TLS{Mode: TLSRequired}, "", "", "454 4.7.0 not now\r\n"},
		{"injected", scripted(good.Server(), "220 go\r\n250 injected\r\n"), TLS{Mode: TLSRequired}, "", diagnose.NetProtocol, ""},
		{"unknown authority", starttls(good.Server()), TLS{Mode: TLSRequired}, "", diagnose.NetTLSAuthority, ""},
		{"wrong name", starttls(good.Server()), TLS{Mode: TLSRequired, CAFile: ca, ServerName: "elsewhere.test"}, "", diagnose.NetTLSName, ""},
		{"server name", starttls(good.Server()), TLS{Mode: TLSRequired, CAFile: ca, ServerName: "mail.test"}, "TLS1.3", "", ""},
		{"expired", implicit(stale.Server()), TLS{Mode: TLSImplicit, CAFile: staleCA}, "", diagnose.NetTLSExpired, ""},
		{"not verified", starttls(stale.Server()), TLS{Mode: TLSRequired, NoVerify: true}, "TLS1.3", "", ""},
		{"pinned", starttls(good.Server()), TLS{Mode: TLSRequired, Fingerprint: []string{strings.Repeat("00", 32), strings.ToUpper(pin)}}, "TLS1.3", "", ""},
		{"wrong pin", starttls(good.Server()), TLS{Mode: TLSRequired, Fingerprint: []string{strings.Repeat("00:", 31) + "00"}}, "", diagnose.NetTLSPin, ""},
		{"version", starttls(old), TLS{Mode: TLSRequired, CAFile: ca, MinVersion: tls.VersionTLS13}, "", diagnose.NetTLSProtocol, ""},
		{"TLS 1.2", starttls(old), TLS{Mode: TLSRequired, CAFile: ca}, "TLS1.2", "", ""},
		{"implicit to a port in clear", smtptest.Options{}, TLS{Mode: TLSImplicit}, "", diagnose.NetTLSProtocol, ""},
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
				if a := attempts(t, o)[0]; !a.Accepted() || a.TLS != tt.want || tt.kind != "" || tt.raw != "" {
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
	with := newPool(t, s.Addr(), func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: caFile(t, id), CertFile: file} })
	if a := attempts(t, send(t, with, message(content, "a@b.test"))[0])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	without := newPool(t, s.Addr(), func(o *Options) { o.TLS = TLS{Mode: TLSRequired, CAFile: caFile(t, id)} })
	if f := send(t, without, message(content, "a@b.test"))[0].r.Fault; f == nil || f.Stage != diagnose.StageTLS || f.NetErr.Kind != diagnose.NetTLSProtocol {
		t.Errorf("without a certificate: %+v", f)
	}
}

func TestAuth(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	inTLS := TLS{Mode: TLSRequired, CAFile: caFile(t, id)}
	users := map[string]string{"user": "secret"}
	server := func(mechs ...string) smtptest.Options {
		return smtptest.Options{TLS: id.Server(), Users: users, RequireAuth: true, Mechanisms: mechs}
	}
	with := func(o smtptest.Options, script func(smtptest.Command) smtptest.Action) smtptest.Options {
		o.Script = script
		return o
	}
	refuse := func(reply string) func(smtptest.Command) smtptest.Action {
		return at(diagnose.StageAuth, reply, smtptest.EndNot)
	}
	tests := []struct {
		name   string
		server smtptest.Options
		tls    TLS
		auth   Authenticator
		clear  bool
		stage  diagnose.Stage // of the fault
		kind   diagnose.NetKind
		raw    string
	}{
		{name: "PLAIN", server: server("PLAIN"), tls: inTLS, auth: secret("secret")},
		{name: "LOGIN", server: server("LOGIN"), tls: inTLS, auth: secret("secret")},
		{name: "CRAM-MD5", server: server("CRAM-MD5"), tls: inTLS, auth: secret("secret")},
		{name: "in clear, allowed", server: smtptest.Options{Users: users, RequireAuth: true}, auth: secret("secret"), clear: true},
		{name: "old form", tls: TLS{}, clear: true, auth: secret("secret"), server: smtptest.Options{Users: users, RequireAuth: true,
			Without: nil, Script: ehlo("250-x\r\n250 auth=plain\r\n")}},
		{name: "wrong password", server: server("PLAIN"), tls: inTLS, auth: secret("wrong"), stage: diagnose.StageAuth, raw: "535 5.7.8 Authentication credentials invalid\r\n"},
		{name: "opportunistic without STARTTLS", server: smtptest.Options{Users: users}, tls: TLS{Mode: TLSOpportunistic}, auth: secret("secret"),
			stage: diagnose.StageTLS, kind: diagnose.NetTLSUnavailable},
		{name: "opportunistic, certificate unknown", server: server("PLAIN"), tls: TLS{Mode: TLSOpportunistic}, auth: secret("secret"), clear: true,
			stage: diagnose.StageTLS, kind: diagnose.NetTLSAuthority},
		{name: "no AUTH", server: smtptest.Options{TLS: id.Server()}, tls: inTLS, auth: secret("secret"), stage: diagnose.StageAuth, kind: diagnose.NetAuthUnavailable},
		{name: "no mechanism", server: server("XOAUTH2"), tls: inTLS, auth: secret("secret"), stage: diagnose.StageAuth, kind: diagnose.NetAuthUnavailable},
		{name: "HELO only", server: smtptest.Options{Script: at(diagnose.StageHello, "502 5.5.1 what\r\n", smtptest.EndNot)}, auth: secret("secret"), clear: true,
			stage: diagnose.StageHello, raw: "502 5.5.1 what\r\n"},
		{name: "password file gone", server: server("PLAIN"), tls: inTLS, auth: &Credentials{Password: func() (string, error) { return "", errors.New("no such file") }},
			stage: diagnose.StageAuth, kind: diagnose.NetLocal},
		{name: "454", server: with(server("PLAIN"), refuse("454 4.7.0 try later\r\n")), tls: inTLS, auth: secret("secret"), stage: diagnose.StageAuth, raw: "454 4.7.0 try later\r\n"},
		{name: "echo", server: with(server("PLAIN"), refuse("500 what is AHVzZXIAc2VjcmV0\r\n")), tls: inTLS, auth: secret("secret"),
			stage: diagnose.StageAuth, raw: "500 what is [16 characters not shown]\r\n"},
		{name: "504, then another mechanism", tls: inTLS, auth: secret("secret"), server: with(server("PLAIN", "LOGIN"), func(c smtptest.Command) smtptest.Action {
			if strings.HasPrefix(c.Line, "AUTH PLAIN") {
				return smtptest.Action{Reply: "504 5.5.4 not after all"}
			}
			return smtptest.Action{}
		})},
		{name: "long token", server: smtptest.Options{TLS: id.Server(), Users: map[string]string{"user": strings.Repeat("t", 2000)}, RequireAuth: true, Mechanisms: []string{"XOAUTH2"}},
			tls: inTLS, auth: bearer(strings.Repeat("t", 2000))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, tt.server)
			var log bytes.Buffer
			p := newPool(t, s.Addr(), func(o *Options) {
				o.TLS, o.Auth, o.AllowPlaintextAuth = tt.tls, tt.auth, tt.clear
				o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			o := send(t, p, message(content, "a@b.test"))[0]
			if tt.stage == "" {
				if a := attempts(t, o)[0]; !a.Accepted() {
					t.Errorf("%+v", a)
				}
				return
			}
			if f := o.r.Fault; f == nil || f.Stage != tt.stage || f.NetErr.Kind != tt.kind || f.Reply.Raw != tt.raw {
				t.Errorf("%+v", f)
			}
			for _, ses := range s.Sessions() {
				if n := strings.Count(strings.Join(ses.Commands, "\n"), "AUTH"); n > 1 {
					t.Errorf("AUTH was tried %d times: %q", n, ses.Commands)
				}
			}
			if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "c2VjcmV0") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// bearer is XOAUTH2, as the OAuth part will bring it.
type bearer string

func (x bearer) Client(context.Context, []string) (sasl.Client, error) { return x, nil }
func (x bearer) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=user\x01auth=Bearer " + string(x) + "\x01\x01"), nil
}
func (x bearer) Next([]byte) ([]byte, error) { return []byte{}, nil }

func ehlo(raw string) func(smtptest.Command) smtptest.Action {
	return at(diagnose.StageHello, raw, smtptest.EndNot)
}

// TestLoginPrompts: LOGIN servers word their prompts as they like.
func TestLoginPrompts(t *testing.T) {
	for _, prompts := range [][2]string{
		{"VXNlcm5hbWU6", "UGFzc3dvcmQ6"}, {"dXNlciBuYW1l", "cGFzcw=="}, {"Username:", "Password:"}, {"", ""}, {"QmVudXR6ZXI=", "S2Vubndvcnq="},
	} {
		var got [3]string
		s := newRaw(t, func(c *peer) {
			c.say("220 x\r\n")
			c.until("EHLO", "250-x\r\n250 AUTH LOGIN\r\n")
			got[0] = c.line()
			c.say("334 " + prompts[0] + "\r\n")
			got[1] = c.line()
			c.say("334 " + prompts[1] + "\r\n")
			got[2] = c.line()
			c.say("235 2.7.0 ok\r\n")
			c.until("QUIT", "221 bye\r\n")
		})
		p := newPool(t, s.addr, func(o *Options) { o.Auth, o.AllowPlaintextAuth = secret("secret"), true })
		if f := p.Probe(t.Context()); f != nil {
			t.Errorf("%q: %+v", prompts, f)
		}
		if got != [3]string{"AUTH LOGIN", "dXNlcg==", "c2VjcmV0"} {
			t.Errorf("%q: said %q", prompts, got)
		}
	}
}

// TestConnect: what goes wrong before the greeting, and each address in its turn.
func TestConnect(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	busy := smtptest.New(t, smtptest.Options{Script: at(diagnose.StageGreeting, "421 4.3.2 busy\r\n", smtptest.EndClose)})
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
		"192.0.2.1:25":     func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		"192.0.2.2:25":     func(context.Context) (net.Conn, error) { return nil, opError(syscall.ECONNREFUSED) },
		"192.0.2.3:25":     func(context.Context) (net.Conn, error) { return net.Dial("tcp", busy.Addr()) },
		"192.0.2.4:25":     func(context.Context) (net.Conn, error) { return net.Dial("tcp", s.Addr()) },
		"192.0.2.5:25":     func(context.Context) (net.Conn, error) { return nil, opError(syscall.EHOSTUNREACH) },
		"192.0.2.6:25":     func(context.Context) (net.Conn, error) { return nil, opError(syscall.EMFILE) },
		"[2001:db8::1]:25": func(context.Context) (net.Conn, error) { return nil, opError(syscall.ENETUNREACH) },
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
		{"by the local address's family", addrs("192.0.2.4", "2001:db8::4"), "192.0.2.4:25", "", "", "127.0.0.1"},
		{"no address of that family", addrs("192.0.2.4"), "", diagnose.NetLocal, "", "::1"},
		{"the first refuses", addrs("192.0.2.2", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"the first is silent", addrs("192.0.2.1", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"the first is busy", addrs("192.0.2.3", "192.0.2.4"), "192.0.2.4:25", "", "", ""},
		{"one is busy, the other dead", addrs("192.0.2.3", "192.0.2.2"), "192.0.2.3:25", "", "421 4.3.2 busy\r\n", ""},
		{"refused", addrs("192.0.2.2"), "192.0.2.2:25", diagnose.NetRefused, "", ""},
		{"unreachable", addrs("192.0.2.5", "192.0.2.2"), "192.0.2.5:25", diagnose.NetUnreachable, "", ""},
		{"no file descriptors", addrs("192.0.2.6"), "192.0.2.6:25", diagnose.NetLocal, "", ""},
		{"silent", addrs("192.0.2.1"), "192.0.2.1:25", diagnose.NetConnectTimeout, "", ""},
		{"not found", failing(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), "", diagnose.NetDNSNotFound, "", ""},
		{"name server failed", failing(&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}), "", diagnose.NetDNSFailure, "", ""},
		{"resolver broke", failing(errors.New("boom")), "", diagnose.NetDNSFailure, "", ""},
		{"no address", addrs(), "", diagnose.NetDNSNotFound, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, "mail.test:25", func(o *Options) {
				o.Lookup, o.Timeouts.Connect = tt.lookup, 400*time.Millisecond
				o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) { return dials[address](ctx) }
				if tt.local != "" {
					o.LocalAddr = netip.MustParseAddr(tt.local)
				}
			})
			o := send(t, p, message(content, "a@b.test"))[0]
			if f := o.r.Fault; f != nil {
				if f.Remote != tt.remote || f.NetErr.Kind != tt.kind || f.Reply.Raw != tt.raw || f.Host != "mail.test" || tt.kind+diagnose.NetKind(tt.raw) == "" {
					t.Errorf("%+v", f)
				}
			} else if a := attempts(t, o)[0]; a.Remote != tt.remote || tt.kind+diagnose.NetKind(tt.raw) != "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

func opError(no syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", no)}
}

// TestLocalAddress: connections come from the address that is configured.
func TestLocalAddress(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), func(o *Options) { o.LocalAddr = netip.MustParseAddr("127.0.0.77") })
	send(t, p, message(content, "a@b.test"))
	ses := s.Sessions()[0]
	if !strings.HasPrefix(ses.Remote, "127.0.0.77:") || ses.Hello != "client.test" {
		t.Errorf("%+v", ses)
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		o    Options
		want []string
	}{
		{Options{Host: "x", Port: 25}, nil},
		{Options{}, []string{"no host", "port 0"}},
		{Options{Host: "x", Port: 25, Auth: secret("x")}, []string{"in clear"}},
		{Options{Host: "x", Port: 25, Auth: secret("x"), AllowPlaintextAuth: true}, nil},
		{Options{Host: "x", Port: 25, Hello: "a b"}, []string{"EHLO name"}},
		{Options{Host: "x", Port: 25, TLS: TLS{Mode: "maybe"}}, []string{"TLS mode"}},
		{Options{Host: "x", Port: 25, TLS: TLS{Mode: TLSRequired, CAFile: "/nonexistent", Fingerprint: []string{"00"}, KeyFile: "k"}}, []string{"CA file", "fingerprint", "key file"}},
	}
	for _, tt := range tests {
		_, err := New(tt.o)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%+v: %v", tt.o, err)
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: does not say %q", err, w)
			}
		}
	}
}
