package smtpd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	st := &store{}
	o := testOptions(st)
	o.TLS = func() *tls.Config { return serverTLS }
	o.Access = Access{Users: testUsers(t, "app", "pass")}
	_, addr := start(t, o, Listen{})
	c := dial(t, addr)
	c.want("220")
	if got := c.say("EHLO client.test", "250"); !strings.Contains(got, "STARTTLS") ||
		strings.Contains(got, "AUTH") {
		t.Errorf("in clear: %q", got)
	}
	c.say("AUTH PLAIN "+b64("\x00app\x00pass"), "538 5.7.11 ")
	c.say("MAIL FROM:<a@b.test>", "530 5.7.0 ")
	c.say("STARTTLS", "220 2.0.0 ")
	tc := newClient(t, tls.Client(c.Conn, clientTLS))
	tc.say("MAIL FROM:<a@b.test>", "503 5.5.1 ")
	if got := tc.say("EHLO client.test", "250"); strings.Contains(got, "STARTTLS") ||
		!strings.Contains(got, "AUTH PLAIN LOGIN") {
		t.Errorf("over TLS: %q", got)
	}
	tc.say("STARTTLS", "503 5.5.1 ")
	tc.say("AUTH", "501 5.5.4 ")
	tc.say("AUTH CRAM-MD5", "504 5.5.4 ")
	tc.say("AUTH PLAIN !!", "501 5.5.2 ")
	tc.say("AUTH PLAIN "+b64("junk"), "501 5.5.2 ")
	tc.say("AUTH PLAIN "+b64("\x00app\x00wrong"), "535 5.7.8 ")
	tc.say("AUTH PLAIN "+b64("other\x00app\x00pass"), "535 5.7.8 ")
	tc.say("AUTH LOGIN", "334 "+b64("Username:"))
	tc.say(b64("app"), "334 "+b64("Password:"))
	tc.say("*", "501 5.0.0 ")
	tc.say("AUTH LOGIN "+b64("app"), "334 "+b64("Password:"))
	tc.say(b64("pass"), "235 2.7.0 ")
	tc.say("AUTH PLAIN "+b64("\x00app\x00pass"), "503 5.5.1 ")
	tc.mail("x\r\n", "250")
	got := st.messages()
	want := relay.Client{Name: "app", User: "app", Addr: "127.0.0.1", Hello: "client.test", TLS: "TLS1.3",
		Protocol: "ESMTPSA"}
	if len(got) != 1 || got[0].m.Client != want {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(got[0].content, "with ESMTPSA id ") ||
		!strings.Contains(got[0].content, "(TLS1.3 TLS_") ||
		!strings.Contains(got[0].content, "\tfor <joe@example.test>;") {
		t.Errorf("%q", got[0].content)
	}
	for _, e := range st.refusals() {
		if strings.Contains(e.Reply, "pass ") {
			t.Errorf("secret in %+v", e)
		}
	}
}

func TestAuthPlainAsksForTheResponse(t *testing.T) {
	o := testOptions(&store{})
	o.Access = Access{Users: testUsers(t, "app", "pass"), AuthInClear: true}
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("AUTH PLAIN", "334")
	c.say(b64("\x00app\x00pass"), "235 2.7.0 ")
}

func TestImplicitTLSAndNewCertificate(t *testing.T) {
	first, firstClient := testTLS(t)
	second, secondClient := testTLS(t)
	var now atomic.Pointer[tls.Config]
	now.Store(first)
	st := &store{}
	o := testOptions(st)
	o.TLS = now.Load
	_, addr := start(t, o, Listen{TLS: true})
	say := func(cfg *tls.Config) {
		t.Helper()
		tc, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer tc.Close()
		c := newClient(t, tc)
		c.want("220")
		c.say("EHLO x", "250")
		c.mail("x\r\n", "250")
	}
	say(firstClient)
	now.Store(second)
	say(secondClient)
	if got := st.messages(); len(got) != 2 || got[0].m.Client.Protocol != "ESMTPS" {
		t.Errorf("%d", len(got))
	}
}

func TestAccessDecisions(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Access.Networks = []Network{{Name: "app", Prefixes: prefixes("127.0.0.0/8"),
		Senders: []string{"@app.test", "<>"}}}
	o.Access.DenySenders = []string{"bad@app.test"}
	o.Access.DenyRecipients = []string{"@deny.test"}
	o.Access.AllowRecipients = []string{"@.test", "@example.org"}
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<x@other.test>",
		"553 5.7.1 Sender <x@other.test> is not allowed here: client.senders of app")
	c.say("MAIL FROM:<bad@app.test>", "553 5.7.1 ")
	c.say("MAIL FROM:<ok@app.test>", "250")
	c.say("RCPT TO:<x@deny.test>", "550 5.7.1 ")
	c.say("RCPT TO:<x@example.com>", "550 5.7.1 ")
	c.say("DATA", "554 5.5.1 ")
	c.say("RCPT TO:<x@example.org>", "250")
	c.say("RCPT TO:<x@example.org>", "250")
	c.say("DATA", "354")
	c.say("x\r\n.", "250")
	c.say("MAIL FROM:<>", "250")
	if got := st.messages(); len(got) != 1 || len(got[0].m.Recipients) != 1 {
		t.Errorf("%+v", got)
	}
	want := []struct {
		stage    diagnose.Stage
		from, to string
	}{
		{diagnose.StageMail, "x@other.test", ""}, {diagnose.StageMail, "bad@app.test", ""},
		{diagnose.StageRcpt, "ok@app.test", "x@deny.test"},
		{diagnose.StageRcpt, "ok@app.test", "x@example.com"},
		{diagnose.StageData, "ok@app.test", ""},
	}
	events := st.refusals()
	if len(events) != len(want) {
		t.Fatalf("%+v", events)
	}
	for i, e := range events {
		if e.Kind != relay.EventRefused || e.Stage != want[i].stage || e.From != want[i].from ||
			e.To != want[i].to ||
			e.Client != "app" || len(e.Reply) < 9 || e.Time.IsZero() {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}

func TestStrangerIsRefused(t *testing.T) {
	o := testOptions(&store{})
	o.Access.Networks = nets("10.0.0.0/8")
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<a@b.test>", "550 5.7.1 Relaying denied, 127.0.0.1 is not in a network")
	c.say("RCPT TO:<a@b.test>", "503 5.5.1 ")
}

func TestUserSenders(t *testing.T) {
	o := testOptions(&store{})
	o.Access = Access{Users: testUsers(t, "any", "p", "app:"+argonOf("p")+":@app.test"), AuthInClear: true}
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.say("MAIL FROM:<a@app.test>", "530 5.7.0 ")
	c.say("AUTH PLAIN "+b64("\x00app\x00p"), "235")
	c.say("MAIL FROM:<a@other.test>",
		"553 5.7.1 Sender <a@other.test> is not allowed here: access.users_file for user app")
	c.say("MAIL FROM:<>", "553 5.7.1 ")
	c.say("MAIL FROM:<a@APP.test>", "250")
}

func TestProxy(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Limits.HandshakeTime = 300 * time.Millisecond
	o.Access.Networks = []Network{{Name: "behind", Prefixes: prefixes("198.51.100.0/24")}}
	_, addr := start(t, o, Listen{Proxy: prefixes("127.0.0.0/8")})
	c := dial(t, addr)
	io.WriteString(c, "PROXY TCP4 198.51.100.7 192.0.2.1 4000 25\r\n")
	c.want("220")
	c.say("EHLO x", "250")
	c.mail("x\r\n", "250")
	if m := st.messages()[0].m; m.Client.Addr != "198.51.100.7" || m.Client.Name != "behind" {
		t.Errorf("%+v", m.Client)
	}
	v2 := dial(t, addr)
	io.WriteString(v2,
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\x0f\xa0\x00\x19")
	v2.want("220")
	v2.say("EHLO x", "250")
	v2.mail("x\r\n", "250")
	if m := st.messages()[1].m; m.Client.Addr != "198.51.100.7" || m.Client.Name != "behind" {
		t.Errorf("version 2: %+v", m.Client)
	}
	for name, first := range map[string]string{
		"version 2, LOCAL": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
		"another client":   "PROXY TCP4 203.0.113.9 192.0.2.1 4000 25\r\n", "no client": "PROXY UNKNOWN\r\n",
	} {
		c := dial(t, addr)
		io.WriteString(c, first)
		if got := c.want("220"); got == "" {
			t.Fatal(name)
		}
		c.say("EHLO x", "250")
		c.say("MAIL FROM:<a@b.test>", "550 5.7.1 ")
	}
	for _, first := range []string{"EHLO x\r\n", ""} {
		c := dial(t, addr)
		io.WriteString(c, first)
		c.want("")
	}
	_, untrusting := start(t, o, Listen{Proxy: prefixes("10.0.0.0/8")})
	u := dial(t, untrusting)
	u.want("220")
	u.say("PROXY TCP4 198.51.100.7 192.0.2.1 4000 25", "500 5.5.1 ")
	u.say("EHLO x", "250")
	u.say("MAIL FROM:<a@b.test>", "550 5.7.1 ")
}

func TestUnixSocket(t *testing.T) {
	st := &store{}
	s, err := New(testOptions(st))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, Listen{}) }()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	c.want("220")
	c.say("EHLO x", "250")
	c.mail("x\r\n", "250")
	nc.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if got := st.messages(); len(got) != 1 || !strings.Contains(got[0].content, "(localhost unix socket)") {
		t.Errorf("%+v", got)
	}
}

func TestShutdownLetsTransactionsEnd(t *testing.T) {
	st := &store{}
	s, addr := start(t, testOptions(st), Listen{})
	idle, busy, stuck := hello(t, addr), hello(t, addr), hello(t, addr)
	busy.say("MAIL FROM:<a@b.test>", "250")
	stuck.say("MAIL FROM:<a@b.test>", "250")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	idle.want("421 4.3.2 ")
	idle.want("")
	busy.say("RCPT TO:<c@d.test>", "250")
	busy.say("DATA", "354")
	busy.say("x\r\n.", "250")
	busy.want("421 4.3.2 ")
	busy.want("")
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	stuck.want("")
	if len(st.messages()) != 1 {
		t.Error("not stored")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

// TestShutdownAnswersQuit: a client whose mail was taken during a drain, and that says QUIT, does not hear
// 421, which it would take for the message.
func TestShutdownAnswersQuit(t *testing.T) {
	st := &store{}
	s, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	c.toRcpt()
	c.say("DATA", "354")
	st.mu.Lock() // the mail is not taken yet
	c.send("x\r\n.\r\nQUIT")
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	smtptest.WaitFor(t, "the drain", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.draining
	})
	st.mu.Unlock()
	c.want("250")
	c.want("221 2.0.0 ")
	c.want("")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	st := &store{}
	s, addr := start(t, testOptions(st), Listen{})
	old := hello(t, addr)
	next := testOptions(st)
	next.Hostname = "new.test"
	next.Access.Networks = nil
	if err := s.Reload(next); err != nil {
		t.Fatal(err)
	}
	old.mail("x\r\n", "250")
	c := dial(t, addr)
	c.want("220 new.test ")
	c.say("EHLO x", "250")
	c.say("MAIL FROM:<a@b.test>", "550 5.7.1 ")

	bad := testOptions(st)
	bad.Hostname = "not a name"
	if s.Reload(bad) == nil {
		t.Error("a bad name is taken")
	}
	bad = testOptions(st)
	bad.Access.DenySenders = []string{"no pattern"}
	if s.Reload(bad) == nil {
		t.Error("a bad pattern is taken")
	}
	dial(t, addr).want("220 new.test ")
}

func TestReloadRefusesAnOpenRelay(t *testing.T) {
	s, err := New(testOptions(&store{}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(elsewhere{l}, Listen{}) }()
	o := testOptions(&store{})
	o.Access.Networks = nets("0.0.0.0/0")
	smtptest.WaitFor(t, "the listener to serve", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.listeners) == 1
	})
	if err := s.Reload(o); err == nil || !strings.Contains(err.Error(), "would relay for anybody") {
		t.Errorf("%v", err)
	}
	s.Shutdown(t.Context())
	<-done
}

func TestUpstreamCapabilities(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	var caps atomic.Pointer[relay.Capabilities]
	caps.Store(&relay.Capabilities{Size: 1000})
	o.Capabilities = func() (relay.Capabilities, bool) { return *caps.Load(), true }
	_, addr := start(t, o, Listen{})
	c := dial(t, addr)
	c.want("220")
	got := c.say("EHLO x", "250")
	if !strings.Contains(got, "SIZE 1000\n") || !strings.Contains(got, "8BITMIME") ||
		!strings.Contains(got, "SMTPUTF8") {
		t.Errorf("%q", got)
	}
	c.say("MAIL FROM:<a@b.test> SIZE=1001",
		"552 5.3.4 Message too large, the upstream accepts at most 1000 bytes")
	const lacks = "553 5.6.7 The local part of <?@b.test> is not ASCII, and the upstream does not offer"
	c.say("MAIL FROM:<ä@b.test> SMTPUTF8", lacks)
	c.say("MAIL FROM:<a@bücher.test> SMTPUTF8", "250")
	c.say("RCPT TO:<ä@b.test>", lacks)
	c.say("RCPT TO:<a@bücher.test>", "250")
	c.say("RSET", "250")
	c.mail(strings.Repeat("x", 998)+"\r\n", "552 5.3.4 Message too large, the upstream")
	c.mail("fine\r\n", "250")
	c.mail("gr\u00fc\u00dfe\r\n", "250") // the relay converts it
	caps.Store(&relay.Capabilities{Size: 5000, EightBit: true, SMTPUTF8: true})
	c.mail(strings.Repeat("\xfc", 990)+"\r\n", "250")
	if len(st.messages()) != 3 {
		t.Error("wrong number stored")
	}
	total := int64(len(st.messages()[0].content))
	caps.Store(&relay.Capabilities{Size: total, EightBit: true})
	c.mail("fine\r\n", "250") // exactly the upstream's limit, our own field included
	caps.Store(&relay.Capabilities{Size: total - 1, EightBit: true})
	c.mail("fine\r\n", "552 5.3.4 ")
}

func TestLoops(t *testing.T) {
	_, addr := start(t, testOptions(&store{}), Listen{})
	c := hello(t, addr)
	c.mail(strings.Repeat("Received: from a by b; date\r\n", 99)+"\r\nx\r\n", "250")
	c.mail(strings.Repeat("Received: from a by b; date\r\n", 100)+"\r\nx\r\n", "554 5.4.6 ")
	own := "Received: from a (b)\r\n\tby Relay.TEST (mailwhy) with SMTP id x; date\r\n"
	c.mail(strings.Repeat(own, 4)+"\r\nx\r\n", "250")
	c.mail(strings.Repeat(own, 5)+"\r\nx\r\n", "554 5.4.6 ")
	c.mail("Subject: x\r\n\r\n"+strings.Repeat("Received: from a by b; date\r\n", 100), "250")
}

// TestMend: the content is stored as Mend returns it, behind our own field. Its header is looked at after
// that, and the upstream's size limit is for what it has become.
func TestMend(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	grow := ""
	o.Mend = func(m *relay.Message, known bool, content io.Reader) io.Reader {
		m.Changed = append(m.Changed, fmt.Sprint("known ", known))
		return io.MultiReader(strings.NewReader("Message-ID: <mended>\r\n"), content, strings.NewReader(grow))
	}
	o.Capabilities = func() (relay.Capabilities, bool) {
		return relay.Capabilities{EightBit: true, Size: 10_000}, true
	}
	o.Access.Users, o.Access.AuthInClear = testUsers(t, "app", "pass"), true
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.mail("Subject: x\r\n\r\nb\r\n", "250")
	got := st.messages()[0]
	if got.body() != "Message-ID: <mended>\r\nSubject: x\r\n\r\nb\r\n" || got.m.MessageID != "<mended>" ||
		got.m.Subject != "x" || !slices.Equal(got.m.Changed, []string{"known true"}) {
		t.Errorf("%q %+v", got.content, got.m)
	}
	grow = strings.Repeat("x", 10_000)
	c.mail("Subject: x\r\n\r\nb\r\n", "552 5.3.4 ")
	if len(st.messages()) != 1 {
		t.Error("stored, though it had become too large")
	}
}

func TestMemoryLimit(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Limits.Memory = 100_000
	srv, addr := start(t, o, Listen{})
	big := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 800)
	a := hello(t, addr)
	a.toData()
	io.WriteString(a, big)
	smtptest.WaitFor(t, "the memory to be used", func() bool { return srv.memory.used.Load() >= 75_000 })
	b := hello(t, addr)
	b.mail(big, "452 4.3.1 ")
	a.say(".", "250")
	b.mail(big, "250")
	if n := srv.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
}

func TestMemoryLimitIsExact(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.Memory = 100
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.mail(strings.Repeat("x", 98)+"\r\n", "250")
	c.mail(strings.Repeat("x", 99)+"\r\n", "452 4.3.1 ")
}

// TestStuckClientsLeaveRoom: what the store has on disk takes no memory, so large contents that stand still
// do not keep others out.
func TestStuckClientsLeaveRoom(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.Memory, o.Limits.InlineLimit = 300_000, 50_000
	srv, addr := start(t, o, Listen{})
	big := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 2000)
	for i := range 3 {
		stuck := hello(t, addr)
		stuck.toData()
		io.WriteString(stuck, big)
		smtptest.WaitFor(t, "the memory to be used",
			func() bool { return srv.memory.used.Load() == int64(i+1)*contentBuffer })
	}
	hello(t, addr).mail(big, "250")
}

// TestOddBodies holds that content passes byte for byte, less the Received field.
func TestOddBodies(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	binary := make([]byte, 0, 100_000)
	for i := range 100_000 {
		if b := byte(i * 7); b != 0 && b != '\r' && b != '\n' {
			binary = append(binary, b)
		}
		if i%500 == 499 {
			binary = append(binary, "\r\n"...)
		}
	}
	binary = append(binary, "\r\n"...)
	size := 50<<20 - 200
	if testing.Short() {
		size = 5 << 20
	}
	for name, content := range map[string]string{
		"8-bit binary":  string(binary),
		"998 bytes":     strings.Repeat("x", 998) + "\r\n",
		"1 MiB line":    strings.Repeat("x", 1<<20-2) + "\r\n",
		"dots":          ".\r\n..\r\n...\r\n.a\r\n..b\r\na.\r\n",
		"empty":         "",
		"empty line":    "\r\n",
		"no header":     "Just text.\r\nMore of it.\r\n",
		"header only":   "Subject: x\r\nTo: y\r\n",
		"folded, blank": " leading space\r\n\t\r\n\r\n",
		"large":         "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("A", 76)+"\r\n", size/78),
	} {
		before := len(st.messages())
		c.say("MAIL FROM:<app@client.test> BODY=8BITMIME", "250")
		c.say("RCPT TO:<joe@example.test>", "250")
		c.say("DATA", "354")
		io.WriteString(c, dotStuff(content))
		c.say(".", "250")
		got := st.messages()
		if len(got) != before+1 {
			t.Fatalf("%s: not stored", name)
		}
		_, body, _ := strings.Cut(got[before].content, got[before].m.Arrived.Format(timeFormat)+"\r\n")
		if sha256.Sum256([]byte(body)) != sha256.Sum256([]byte(content)) {
			t.Errorf("%s: altered: %.200q", name, body)
		}
	}
}

func TestHelloIsCleanInTrace(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := dial(t, addr)
	c.want("220")
	c.say("EHLO a;(b)\\<c>\"\u00fc", "250")
	c.mail("x\r\n", "250")
	if got := st.messages()[0].content; !strings.HasPrefix(got,
		"Received: from a??b???c??? (localhost [127.0.0.1])\r\n") {
		t.Errorf("%q", got)
	}
}

func TestSyntaxReplies(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.Errors = 0
	_, addr := start(t, o, Listen{})
	c := dial(t, addr)
	c.want("220")
	for _, tt := range []struct{ line, want string }{
		{"MAIL FROM:<a@b.test>", "503 5.5.1 "},
		{"EHLO", "501 5.5.4 "},
		{"EHLO client.test", "250-"},
		{"", "500 5.5.1 "},
		{"MAIL", "501 5.5.4 "},
		{"MAIL TO:<a@b.test>", "501 5.5.4 "},
		{"MAIL FROM:a@b.test", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test>x", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> =x", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> BODY", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> BODY=BINARYMIME", "555 5.5.4 "},
		{"MAIL FROM:<a@b.test> SMTPUTF8=1", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> RET=SOME", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> ENVID=+0A", "501 5.5.4 "},
		{"MAIL FROM:<a@b.test> REQUIRETLS", "555 5.5.4 "},
		{"MAIL FROM:<a b@b.test>", "501 5.1.7 "},
		{"MAIL FROM:<" + strings.Repeat("x", 65) + "@b.test>", "501 5.1.7 Malformed sender address <xxxx"},
		{"mail from: <@route.test,@r2.test:a@b.test> auth=<>", "250 2.1.0 "},
		{"RCPT TO:<>", "501 5.1.3 "},
		{"RCPT TO:<a@b.test> NOTIFY=NEVER,DELAY", "501 5.5.4 "},
		{"RCPT TO:<a@b.test> NOTIFY=", "501 5.5.4 "},
		{"RCPT TO:<a@b.test> ORCPT=rfc822", "501 5.5.4 "},
		{"DATA now", "501 5.5.4 "},
		{"DATA", "554 5.5.1 "},
		{"RSET", "250 2.0.0 "},
		{"DATA", "503 5.5.1 "},
		{"VRFY joe", "252 2.1.5 "},
		{"EXPN joe", "502 5.5.1 "},
		{"HELP", "214 2.0.0 "},
		{"NOOP x", "250 2.0.0 "},
		{"AUTH PLAIN", "502 5.5.1 "},
		{"STARTTLS", "502 5.5.1 "},
		{"GET / HTTP/1.1", "500 5.5.1 "},
	} {
		c.say(tt.line, tt.want)
	}
	c.want("")
}

func TestOtherCommandsLimitIsExact(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.OtherCommands = 10
	_, addr := start(t, o, Listen{})
	c := hello(t, addr) // one of them
	for range 9 {
		c.say("NOOP", "250")
	}
	c.mail("x\r\n", "250") // starts again
	for range 10 {
		c.say("NOOP", "250")
	}
	c.say("NOOP", "421 4.7.0 ")
	c.want("")
}

func TestProbesAreNoRefusals(t *testing.T) {
	st := &store{}
	srv, addr := start(t, testOptions(st), Listen{})
	dial(t, addr).Close()
	c := dial(t, addr)
	c.want("220")
	c.Close()
	d := hello(t, addr)
	d.say("QUIT", "221")
	smtptest.WaitFor(t, "the sessions to end", func() bool { return srv.Sessions() == 0 })
	if got := st.refusals(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestGatewayWarning(t *testing.T) {
	var logged bytes.Buffer
	o := Options{Gateway: netip.MustParseAddr("172.17.0.1"), Log: slog.New(slog.NewTextHandler(&logged, nil))}
	var g origins
	for range originsEnough + 5 {
		g.note(&o, o.Gateway)
	}
	if n := strings.Count(logged.String(), "container gateway"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	logged.Reset()
	var mixed origins
	mixed.note(&o, netip.MustParseAddr("172.17.0.5"))
	for range originsEnough + 5 {
		mixed.note(&o, o.Gateway)
	}
	if logged.Len() != 0 {
		t.Errorf("%s", logged.String())
	}
}

func TestPythonSmtplib(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("skipping: python3 is not installed")
	}
	st := &store{}
	o := testOptions(st)
	o.Access = Access{Users: testUsers(t, "app", "pass"), AuthInClear: true}
	_, addr := start(t, o, Listen{})
	host, port, _ := net.SplitHostPort(addr)
	script := fmt.Sprintf(`
import smtplib
s = smtplib.SMTP(%q, %s)
s.login("app", "pass")
refused = s.sendmail("a@b.test", ["joe@example.test", "postmaster"], "Subject: hi\r\n\r\n.dot\nline\n",
    rcpt_options=["NOTIFY=FAILURE"])
assert refused == {}, refused
try:
    s.sendmail("a@b.test", ["not an address"], "x")
except smtplib.SMTPRecipientsRefused as e:
    assert list(e.recipients.values())[0][0] == 501, e
else:
    raise Exception("accepted")
s.quit()
`, host, port)
	if out, err := exec.Command(python, "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := st.messages()
	if len(got) != 1 || got[0].body() != "Subject: hi\r\n\r\n.dot\r\nline\r\n" ||
		got[0].m.Recipients[0].Notify != relay.NotifyFailure {
		t.Errorf("%+v", got)
	}
}
