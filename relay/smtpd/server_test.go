package smtpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
)

// accepted is a message as Accept got it.
type accepted struct {
	m       relay.Message
	content string
}

// body is the content less the Received field that we add.
func (a *accepted) body() string {
	_, rest := cutField([]byte(a.content))
	return string(rest)
}

// store is an Accept and a Recorder that remember.
type store struct {
	mu     sync.Mutex
	got    []accepted
	events []relay.Event
	fail   error // returned by Accept, after reading
}

func (st *store) accept(ctx context.Context, m *relay.Message, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("storing: %w", err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fail != nil {
		return st.fail
	}
	m.Size = int64(len(b))
	st.got = append(st.got, accepted{*m, string(b)})
	return nil
}

func (st *store) Record(e relay.Event) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.events = append(st.events, e)
}

func (st *store) messages() []accepted {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]accepted(nil), st.got...)
}

// forget drops what is remembered.
func (st *store) forget() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.got, st.events = nil, nil
}

func (st *store) refusals() []relay.Event {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]relay.Event(nil), st.events...)
}

// testLimits are wide enough for every test that does not set its own.
func testLimits() Limits {
	return Limits{
		Connections: 1000, ClientConns: 500, Messages: 10000, Errors: 20, AuthFailures: 5,
		OtherCommands: 1000,
		Recipients:    1000, MessageSize: 50 << 20, CommandLine: 4096, ContentLine: 1 << 20,
		HeaderPeek: 128 << 10,
		Memory:     64 << 20, InlineLimit: 128 << 10, Received: 100, OwnReceived: 5, DataRate: 100,
		CommandTimeout: 5 * time.Minute, DataTimeout: 3 * time.Minute, DataTotal: 30 * time.Minute,
		DataGrace: time.Minute, HandshakeTime: 30 * time.Second, WriteTimeout: time.Minute,
	}
}

// testOptions accept mail from loopback into st, without waits.
func testOptions(st *store) Options {
	return Options{
		Hostname: "relay.test", Accept: st.accept, Recorder: st, Limits: testLimits(),
		Postmaster: "postmaster@relay.test",
		Access:     Access{Networks: []Network{LoopbackNetwork()}},
	}
}

// TestNewNamesWhatIsMissing: every required option that is not set is named, all at once.
func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := New(Options{})
	for _, name := range []string{
		"Hostname", "Accept", "Recorder", "Postmaster", "Limits.CommandTimeout", "Limits.DataTimeout",
		"Limits.DataTotal", "Limits.DataGrace", "Limits.HandshakeTime", "Limits.WriteTimeout",
		"Limits.CommandLine",
		"Limits.HeaderPeek",
	} {
		if err == nil || !strings.Contains(err.Error(), name+" must be") {
			t.Errorf("New says %v, nothing of %s", err, name)
		}
	}
}

// start serves on a free port until the test ends, and checks that nothing stays behind.
func start(t testing.TB, o Options, conf Listen) (*Server, string) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, conf) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
		if n := s.Sessions(); n != 0 {
			t.Errorf("%d sessions stay behind", n)
		}
	})
	return s, l.Addr().String()
}

// client is a raw SMTP client.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dial connects and does not read the greeting.
func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, c, bufio.NewReader(c)}
}

// hello connects, reads the greeting and says EHLO.
func hello(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.want("220 ")
	c.say("EHLO client.test", "250")
	return c
}

// send writes a line.
func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		c.t.Fatalf("sending %q: %v", line, err)
	}
}

// reply reads a whole reply, lines joined with LF; "" at the end of the connection.
func (c *client) reply() string {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return b.String()
		}
		line = strings.TrimRight(line, "\r\n")
		b.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return b.String()
		}
		b.WriteByte('\n')
	}
}

// want reads a reply and checks how it begins; "" wants the end of the connection.
func (c *client) want(prefix string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, prefix) || prefix == "" && got != "" {
		c.t.Fatalf("got reply %q, want %q", got, prefix)
	}
	return got
}

// say sends a line and checks how the reply begins.
func (c *client) say(line, prefix string) string {
	c.t.Helper()
	c.send(line)
	got := c.reply()
	if !strings.HasPrefix(got, prefix) || prefix == "" && got != "" {
		c.t.Fatalf("to %.200q: got reply %q, want %q", line, got, prefix)
	}
	return got
}

// mail sends a message of one recipient up to its final dot and checks the last reply.
func (c *client) mail(content, prefix string) string {
	c.t.Helper()
	c.say("MAIL FROM:<app@client.test>", "250")
	c.say("RCPT TO:<joe@example.test>", "250")
	c.say("DATA", "354")
	return c.say(strings.TrimSuffix(dotStuff(content), "\r\n")+"\r\n.", prefix)
}

// toRcpt begins a transaction with one recipient.
func (c *client) toRcpt() {
	c.t.Helper()
	c.say("MAIL FROM:<a@b.test>", "250")
	c.say("RCPT TO:<c@d.test>", "250")
}

// toData begins a transaction and goes on to the server's leave to send the content.
func (c *client) toData() {
	c.t.Helper()
	c.toRcpt()
	c.say("DATA", "354")
}

// dotStuff doubles dots at line starts (RFC 5321, 4.5.2).
func dotStuff(s string) string {
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return strings.ReplaceAll(s, "\r\n.", "\r\n..")
}

func TestMessage(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	c := hello(t, addr)
	c.say(`MAIL FROM:<app@client.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1 SMTPUTF8`, "250 2.1.0 ")
	c.say(`RCPT TO:<joe@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Joe+2Bx@example.test`, "250 2.1.5 ")
	c.say(`RCPT TO:<"a b"@example.test>`, "250 2.1.5 ")
	c.say(`RCPT TO:<PostMaster>`, "250 2.1.5 ")
	c.say("DATA", "354 ")
	const content = "From: App <app@Client.test>\r\nSubject: =?utf-8?q?hi?=\r\n there\r\n" +
		"Message-ID: <1@client.test>\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=Client.Test; s=x\r\n\r\nHello\r\n.dot\r\n"
	id := strings.TrimPrefix(c.say(strings.TrimSuffix(dotStuff(content), "\r\n")+"\r\n.",
		"250 2.0.0 Ok: queued as "), "250 2.0.0 Ok: queued as ")
	c.say("QUIT", "221 2.0.0 ")
	c.want("")

	got := st.messages()
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	m := got[0].m
	if m.ID != id || !relay.ValidID(id) {
		t.Errorf("id %q, said %q", m.ID, id)
	}
	wantEnv := relay.Envelope{From: "app@client.test", Body: relay.Body8BitMIME, SMTPUTF8: true,
		Ret: relay.RetHeaders, EnvID: "QQ+1"}
	if m.Envelope != wantEnv {
		t.Errorf("envelope %+v", m.Envelope)
	}
	if len(m.Recipients) != 3 || m.Recipients[0].ORCPT != "rfc822;Joe+2Bx@example.test" ||
		m.Recipients[0].Notify != relay.NotifySuccess|relay.NotifyDelay ||
		m.Recipients[1].Address != `"a b"@example.test` ||
		m.Recipients[2].Address != "postmaster@relay.test" {
		t.Errorf("recipients %+v", m.Recipients)
	}
	wantClient := relay.Client{Name: "localhost", Addr: "127.0.0.1", Hello: "client.test",
		Protocol: "UTF8SMTP"}
	if m.Client != wantClient {
		t.Errorf("client %+v", m.Client)
	}
	if m.Subject != "=?utf-8?q?hi?= there" || m.MessageID != "<1@client.test>" ||
		m.HeaderFrom != "client.test" ||
		len(m.DKIM) != 1 || m.DKIM[0] != "client.test" || m.Arrived.IsZero() {
		t.Errorf("message %+v", m)
	}
	if got[0].body() != content {
		t.Errorf("content %q", got[0].body())
	}
	wantTrace := "Received: from client.test (localhost [127.0.0.1])\r\n\tby relay.test (mailwhy) with " +
		"UTF8SMTP id " + id + ";\r\n\t"
	if !strings.HasPrefix(got[0].content, wantTrace) {
		t.Errorf("trace %q", got[0].content)
	}
	if len(st.refusals()) != 0 {
		t.Errorf("refusals %+v", st.refusals())
	}
}

func TestEHLO(t *testing.T) {
	_, addr := start(t, testOptions(&store{}), Listen{})
	c := dial(t, addr)
	c.want("220 relay.test ESMTP mailwhy")
	got := c.say("EHLO client.test", "250")
	want := "250-relay.test\n250-PIPELINING\n250-SIZE 52428800\n250-8BITMIME\n250-SMTPUTF8\n250-DSN\n" +
		"250-ENHANCEDSTATUSCODES\n250 LIMITS RCPTMAX=1000"
	if got != want {
		t.Errorf("got %q", got)
	}
	c.say("HELO client.test", "250 relay.test")
}
