package upstream

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/proxytest"
	"mailwhy/relay/upstream/proxy"
)

// hidden is the name of the upstream, which only the proxies know.
const hidden = "mail.hidden.test"

// proxied makes a pool for the hidden upstream that goes through a proxy.
func proxied(t *testing.T, url, password, ca string, change func(*Options)) *Pool {
	t.Helper()
	way, err := proxy.New(proxy.Options{URL: url, CAFile: ca,
		Password: func() (string, error) { return password, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return newPool(t, hidden+":587", func(o *Options) {
		o.Proxy = way
		if change != nil {
			change(o)
		}
	})
}

// TestProxies: mail goes through each kind of proxy, whose job it is to know the name, with TLS and AUTH from
// end to end.
func TestProxies(t *testing.T) {
	id := smtptest.NewCertificate(t, hidden)
	server := smtptest.New(t, smtptest.Options{TLS: id.Server(), RequireTLS: true, RequireAuth: true,
		Users: map[string]string{"user": "secret"}})
	hosts := map[string]string{hidden + ":587": server.Addr()}
	own := smtptest.NewCertificate(t, "127.0.0.1")
	login := proxytest.Options{Hosts: hosts, User: "me", Password: "pw"}
	for _, tt := range []struct {
		name   string
		proxy  *proxytest.Server
		scheme string
	}{
		{"socks5", proxytest.SOCKS5(t, proxytest.Options{Hosts: hosts}), "socks5://"},
		{"socks5 with a user", proxytest.SOCKS5(t, login), "socks5://me@"},
		{"a user that socks5 does not ask for", proxytest.SOCKS5(t, proxytest.Options{Hosts: hosts}),
			"socks5://me@"},
		{"connect", proxytest.Connect(t, proxytest.Options{Hosts: hosts}), "http://"},
		{"connect with a user", proxytest.Connect(t, login), "http://me@"},
		{"connect over TLS", proxytest.Connect(t, proxytest.Options{Hosts: hosts, TLS: own.Server()}),
			"https://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(server.Messages())
			p := proxied(t, tt.scheme+tt.proxy.Addr, "pw", caFile(t, own), func(o *Options) {
				o.TLS, o.Auth = TLS{Mode: TLSRequired, CAFile: caFile(t, id)}, secret("secret")
			})
			for _, a := range attempts(t, send(t, p, message(content, "a@b.test"))[0]) {
				if a.Reply.Class() != 2 || a.Remote != tt.proxy.Addr || a.Host != hidden || a.TLS == "" {
					t.Errorf("%+v", a)
				}
			}
			if n := len(server.Messages()); n != before+1 {
				t.Errorf("%d messages arrived", n-before)
			}
			if asked := tt.proxy.Asked(); len(asked) != 1 || asked[0] != hidden+":587" {
				t.Errorf("the proxy was asked for %q", asked)
			}
		})
	}
}

// TestProxyGreetsEarly: a greeting that comes in the packet of the proxy's answer is not lost.
func TestProxyGreetsEarly(t *testing.T) {
	s := proxytest.Connect(t, proxytest.Options{
		Answer: "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n554 5.3.2 go away\r\n"})
	p := proxied(t, "http://"+s.Addr, "", "", nil)
	f := send(t, p, message(content, "a@b.test"))[0].r.Fault
	if f == nil || f.Stage != diagnose.StageGreeting || f.Reply.Code != 554 {
		t.Errorf("%+v", f)
	}
}

// TestProxyFaults: what a proxy does wrong has a text and a reason of its own, at stage connect, and shows no
// password.
func TestProxyFaults(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	socks := func(o proxytest.Options) string { return proxytest.SOCKS5(t, o).Addr }
	connect := func(o proxytest.Options) string { return proxytest.Connect(t, o).Addr }
	login := proxytest.Options{User: "me", Password: "right"}
	refuse, mute := proxytest.Options{Refuse: true}, proxytest.Options{Mute: true}
	answer := func(s string) proxytest.Options { return proxytest.Options{Answer: s} }
	smtp := smtptest.New(t, smtptest.Options{})
	for _, tt := range []struct {
		url    string
		reason diagnose.Reason
		text   string
	}{
		{"socks5://" + gone, proxy.ReasonUnreachable, "connection refused"},
		{"http://" + gone, proxy.ReasonUnreachable, "connection refused"},
		{"socks5://no-such-host.invalid", proxy.ReasonUnreachable,
			"no-such-host.invalid:1080 cannot be reached"},
		{"socks5://me@" + socks(login), proxy.ReasonCredentials, "refuses the user me or the password"},
		{"socks5://" + socks(login), proxy.ReasonCredentials, "wants a user and a password"},
		{"http://me@" + connect(login), proxy.ReasonCredentials, "refuses the user me or the password"},
		{"http://" + connect(login), proxy.ReasonCredentials, "407 Proxy Authentication Required"},
		{"socks5://" + socks(refuse), proxy.ReasonRefused, "refuses to connect to mail.hidden.test:587"},
		{"http://" + connect(refuse), proxy.ReasonRefused, "HTTP status 403 Forbidden"},
		{"socks5://" + socks(mute), proxy.ReasonFailed, "did not answer in time"},
		{"http://" + connect(mute), proxy.ReasonFailed, "did not answer in time"},
		{"socks5://" + smtp.Addr(), proxy.ReasonFailed, "does not speak SOCKS5"},
		{"http://" + smtp.Addr(), proxy.ReasonFailed, "does not answer as an HTTP proxy"},
		{"https://" + smtp.Addr(), proxy.ReasonUnreachable, "cannot be reached with TLS"},
		{"http://" + connect(answer("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 20<<10))),
			proxy.ReasonFailed, "cut off or too long"},
		{"http://" + connect(answer("HTTP/1.1 200 OK\r\n")), proxy.ReasonFailed, "cut off or too long"},
		{"http://" + connect(answer(strings.Repeat("x", 20<<10))), proxy.ReasonFailed, "cut off or too long"},
	} {
		t.Run(tt.url+" "+tt.text, func(t *testing.T) {
			p := proxied(t, tt.url, "hunter2", "", func(o *Options) {
				o.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				o.Timeouts.Connect = 300 * time.Millisecond
				if !strings.Contains(tt.text, "in time") {
					o.Timeouts.Connect = 10 * time.Second
				}
			})
			f := send(t, p, message(content, "a@b.test"))[0].r.Fault
			if f == nil || f.Stage != diagnose.StageConnect || f.NetErr.Kind != diagnose.NetProxy ||
				f.NetErr.Reason != tt.reason || !strings.Contains(f.NetErr.Text, tt.text) ||
				strings.Contains(f.NetErr.Text, "hunter2") {
				t.Fatalf("%+v", f)
			}
			d := engine.Diagnose(diagnose.Symptom{Stage: f.Stage, NetErr: f.NetErr})
			if d.Reason != tt.reason || d.Scope != diagnose.ScopeUpstream || len(d.Fix) == 0 {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestLocalAddressByFamily: the source is the one of the target's family, and IPv6 can be switched off.
func TestLocalAddressByFamily(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	six.Close()
	local := []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::1")}
	for _, tt := range []struct {
		name, host string
		local      []netip.Addr
		noIPv6     bool
		from       string // "": there is no connection
	}{
		{"four", "127.0.0.1", local, false, "127.0.0.2:"},
		{"six", "::1", local, false, "[::1]:"},
		{"six is off", "::1", local, true, ""},
		{"only four", "::1", local[:1], false, ""},
		{"only six", "127.0.0.1", local[1:], false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Addr: net.JoinHostPort(tt.host, "0")})
			p := newPool(t, s.Addr(), func(o *Options) { o.LocalAddrs, o.NoIPv6 = tt.local, tt.noIPv6 })
			o := send(t, p, message(content, "a@b.test"))[0]
			if tt.from == "" {
				if f := o.r.Fault; f == nil || f.NetErr.Kind != diagnose.NetLocal {
					t.Errorf("%+v", o.r)
				}
				return
			}
			attempts(t, o)
			if from := s.Sessions()[0].Remote; !strings.HasPrefix(from, tt.from) {
				t.Errorf("the connection came from %s", from)
			}
		})
	}
}
