package session

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/check"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/upstream"
)

// setup is an upstream and how it is configured.
type setup struct {
	name   string
	server smtptest.Options
	mode   upstream.TLS
	change func(*upstream.Options)
	check  func(*Options)
	lines  []string // "LEVEL CHECK TEXT", where the text is any part of it; all lines, in their order
	fixes  string   // part of the fixes together
}

func TestCheck(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(30 * 24 * time.Hour)
	id, err := smtptest.CertificateAt(time.Now().Add(-time.Hour), end, "127.0.0.1", "mail.test")
	if err != nil {
		t.Fatal(err)
	}
	soon, err := smtptest.CertificateAt(time.Now().Add(-time.Hour), time.Now().Add(72*time.Hour), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	over, err := smtptest.CertificateAt(time.Now().Add(-time.Hour), time.Now().Add(-time.Minute), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	login := smtptest.Options{TLS: id.Server(), Users: map[string]string{"user": "secret"}, RequireAuth: true,
		SizeLimit: 5000}
	required := func(i *smtptest.Identity) upstream.TLS {
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, i.CAPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		return upstream.TLS{Mode: upstream.TLSRequired, CAFile: file}
	}
	reply := func(stage diagnose.Stage, address, text string) func(smtptest.Command) smtptest.Action {
		return func(c smtptest.Command) smtptest.Action {
			if c.Stage == stage && c.Address == address {
				return smtptest.Action{Reply: text}
			}
			return smtptest.Action{}
		}
	}
	as := func(user, password string) func(*upstream.Options) {
		return func(o *upstream.Options) {
			o.Auth = &upstream.Credentials{Username: user, Mechanisms: []string{"PLAIN"},
				Password: func() (string, error) { return password, nil }}
		}
	}
	for _, s := range []setup{
		{name: "right", server: login, mode: required(id), change: as("user", "secret"), lines: []string{
			"ok connect answers",
			"ok tls TLS 1.3, a certificate for mail.test, 127.0.0.1 by smtptest authority until " +
				end.UTC().Format(time.DateOnly),
			"ok auth logged in as user", "ok size up to 5000 bytes",
			"ok rcpt mail from a@a.test to b@b.test is taken", "ok mail the null sender"}},
		{name: "in clear", lines: []string{"ok connect ", "warning tls not encrypted",
			"ok size", "ok rcpt a@a.test", "ok mail null sender"}, server: smtptest.Options{SizeLimit: 9},
			fixes: `Set tls = "starttls"`},
		{name: "certificate ends soon", server: smtptest.Options{TLS: soon.Server(),
			Without: []string{"SIZE"}},
			mode: required(soon), lines: []string{"ok connect ", "warning tls 127.0.0.1", "ok rcpt a@a.test",
				"ok mail null sender"}, fixes: "ends in 2 days"},
		{name: "certificate is over", server: smtptest.Options{TLS: over.Server()}, mode: required(over),
			lines: []string{"failure tls expired",
				"warning tls the server shows a certificate for 127.0.0.1"}},
		{name: "another authority", server: smtptest.Options{TLS: id.Server()}, mode: required(soon),
			lines: []string{"failure tls authority", "warning tls by smtptest authority"},
			fixes: "a proxy or an antivirus"},
		{name: "another authority, implicit", mode: func() upstream.TLS {
			m := required(soon)
			m.Mode = upstream.TLSImplicit
			return m
		}(), server: smtptest.Options{TLS: id.Server(), ImplicitTLS: true},
			lines: []string{"failure tls authority", "warning tls by smtptest authority"}},
		{name: "implicit against STARTTLS", server: smtptest.Options{},
			mode: upstream.TLS{Mode: upstream.TLSImplicit}, lines: []string{"failure tls ",
				"warning tls greets in clear"},
			fixes: `Set tls = "starttls"`},
		{name: "STARTTLS against implicit", server: smtptest.Options{TLS: id.Server(), ImplicitTLS: true},
			mode:   required(id),
			change: func(o *upstream.Options) { o.Timeouts.Greeting = 200 * time.Millisecond },
			lines:  []string{"failure connect no greeting", "warning tls speaks TLS from the first byte"},
			fixes:  `Set tls = "implicit"`},
		{name: "STARTTLS missing", server: smtptest.Options{}, mode: required(id),
			lines: []string{"failure tls does not offer STARTTLS"}},
		{name: "wrong password", server: login, mode: required(id), change: as("user", "wrong"),
			lines: []string{"failure auth 535"}},
		{name: "wrong password, several regions", server: login, mode: required(id),
			change: as("user", "wrong"),
			check:  func(o *Options) { o.Others = []string{"smtp.eu.test", "smtp.us.test"} },
			lines:  []string{"failure auth 535", "warning region smtp.eu.test, smtp.us.test"},
			fixes:  "the login of one region is refused by the others"},
		{name: "address not listed, told once", server: smtptest.Options{Without: []string{"SIZE"},
			Script: reply(diagnose.StageRcpt, "b@b.test", "550 5.7.1 Relaying denied")},
			check: func(o *Options) {
				local(o)
				o.Senders = []string{"a@a.test", "c@c.test"}
			},
			lines: []string{"ok connect ", "ok source 127.0.0.1", "warning tls ",
				"failure rcpt 550 5.7.1 Relaying denied", "warning source 127.0.0.1",
				"failure rcpt 550 5.7.1 Relaying denied", "ok mail null sender"},
			fixes: "the public address of this network, which is not known here"},
		{name: "null sender refused by address", server: smtptest.Options{Without: []string{"SIZE"},
			Script: reply(diagnose.StageMail, "", "554 5.7.1 Relay access denied")}, check: local,
			lines: []string{"ok connect ", "ok source 127.0.0.1", "warning tls ", "ok rcpt a@a.test",
				"failure mail the null sender, of bounces, is refused", "warning source 127.0.0.1"},
			fixes: "dsn.fallback_sender"},
		{name: "no user", mode: required(id), lines: []string{"ok connect ", "ok tls ",
			"warning auth but no user is configured", "ok size", "failure mail 530", "failure mail 530"},
			server: login, fixes: "Set username"},
		{name: "sender refused", server: smtptest.Options{Without: []string{"SIZE"},
			Script: reply(diagnose.StageMail, "a@a.test",
				"553 5.7.1 Sender address rejected: not owned by user")},
			lines: []string{"ok connect ", "warning tls ", "failure mail mail from a@a.test is refused: 553",
				"ok mail null sender"}},
		{name: "null sender refused", server: smtptest.Options{Without: []string{"SIZE"},
			Script: reply(diagnose.StageMail, "", "501 Invalid MAIL FROM address provided")},
			lines: []string{"ok connect ", "warning tls ", "ok rcpt a@a.test",
				"failure mail the null sender, of bounces, is refused: 501 Invalid"},
			fixes: "dsn.fallback_sender"},
		{name: "null sender not used", server: smtptest.Options{Without: []string{"SIZE"}},
			check: func(o *Options) { o.NullSender = false },
			lines: []string{"ok connect ", "warning tls ", "ok rcpt a@a.test"}},
		{name: "recipient refused", server: smtptest.Options{Without: []string{"SIZE"},
			Script: reply(diagnose.StageRcpt, "b@b.test", "554 5.7.1 Relay access denied")},
			lines: []string{"ok connect ", "warning tls ",
				"failure rcpt mail from a@a.test to b@b.test is refused: 554 5.7.1 Relay access denied",
				"ok mail null sender"}},
		{name: "refused at the greeting", server: smtptest.Options{
			Script: reply(diagnose.StageGreeting, "", "554 5.7.1 your address is not in our list")},
			lines: []string{"failure connect 554 5.7.1"}},
		{name: "sent", server: smtptest.Options{Without: []string{"SIZE"}}, check: func(o *Options) {
			o.Send = func(_ context.Context, from, to string) *relay.Attempt {
				return &relay.Attempt{Stage: diagnose.StageEndOfData, UpstreamID: from + to,
					Reply: diagnose.ParseReply("250 Ok")}
			}
		}, lines: []string{"ok connect ", "warning tls ", "ok rcpt ", "ok mail ",
			"ok send was relayed as \"a@a.testb@b.test\""}},
	} {
		t.Run(s.name, func(t *testing.T) {
			server := smtptest.New(t, s.server)
			o := options(t, server.Port(), s.mode, s.change)
			o.Diagnose = engine.Diagnose
			if s.check != nil {
				s.check(&o)
			}
			expect(t, Check(t.Context(), o), s.lines, s.fixes)
			if n := server.Stats().Messages; n != 0 {
				t.Errorf("%d messages were sent", n)
			}
		})
	}
}

// local has a check show where connections come from.
func local(o *Options) {
	o.Sources = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }
}

// options are those of a check of a server on loopback.
func options(t *testing.T, port int, mode upstream.TLS, change func(*upstream.Options)) Options {
	t.Helper()
	if mode.Mode == "" {
		mode.Mode = upstream.TLSNone
	}
	mode.MinVersion = tls.VersionTLS12
	uo := upstream.Options{Name: "up", Host: "127.0.0.1", Port: port, Hello: "client.test", TLS: mode,
		MaxAge: time.Minute, RcptMax: 10, Grace: time.Second, Timeouts: upstream.Timeouts{
			Connect: 10 * time.Second, Greeting: 10 * time.Second, Command: 10 * time.Second,
			Data: 10 * time.Second, Write: 10 * time.Second, EndOfData: 10 * time.Second}}
	o := Options{Name: "up", Host: "127.0.0.1", Port: port, Hello: "client.test",
		Implicit: mode.Mode == upstream.TLSImplicit, Dial: new(net.Dialer).DialContext, Now: time.Now,
		Timeout: 10 * time.Second, Senders: []string{"a@a.test"}, Recipient: "b@b.test", NullSender: true}
	if change != nil {
		change(&uo)
		if a, ok := uo.Auth.(*upstream.Credentials); ok {
			o.User = a.Username
		}
	}
	pool, err := upstream.New(uo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	o.Open = func(ctx context.Context) (Session, *relay.Attempt) {
		trial, fault := pool.Try(ctx)
		if fault != nil {
			return nil, fault
		}
		return trial, nil
	}
	return o
}

// expect compares all lines.
func expect(t *testing.T, lines []check.Line, want []string, fixes string) {
	t.Helper()
	var said, fix []string
	for _, l := range lines {
		said = append(said, string(l.Level)+" "+l.Check+" "+l.Text)
		fix = append(fix, l.Fix)
		if l.Upstream != "up" || l.Level == check.Failure && l.Fix == "" {
			t.Errorf("incomplete: %+v", l)
		}
	}
	ok := len(said) == len(want) && strings.Contains(strings.Join(fix, "\n"), fixes)
	for i := 0; ok && i < len(want); i++ {
		w := strings.SplitN(want[i], " ", 3)
		text, begins := strings.CutPrefix(said[i], w[0]+" "+w[1]+" ")
		ok = begins && (len(w) < 3 || strings.Contains(text, w[2]))
	}
	if !ok {
		t.Errorf("got\n  %s\nwant\n  %s\nfixes %q, want %q", strings.Join(said, "\n  "),
			strings.Join(want, "\n  "), fix, fixes)
	}
}

func TestCheckOtherPorts(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.New(t, smtptest.Options{})
	closed := smtptest.New(t, smtptest.Options{})
	closed.Close()
	o := options(t, closed.Port(), upstream.TLS{}, nil)
	o.Diagnose = engine.Diagnose
	o.Ports = []int{closed.Port(), server.Port()}
	port := strconv.Itoa(server.Port())
	expect(t, Check(t.Context(), o), []string{"failure connect refused",
		"warning ports other ports of 127.0.0.1 answer: " + port}, "Set port = "+port+".")
	server.Close()
	expect(t, Check(t.Context(), o), []string{"failure connect refused", "failure ports no other port"}, "")
}
