package smtpd

import (
	"context"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// pipes is a listener for the server's ends of pipes.
type pipes struct {
	c    chan net.Conn
	once sync.Once
	done chan struct{}
}

func newPipes() *pipes { return &pipes{c: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.c:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

// fromLoopback gives a pipe an address.
type fromLoopback struct{ net.Conn }

func (fromLoopback) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000}
}

var replyLines = regexp.MustCompile(`\A(?:[2-5][0-9][0-9][ -][ -~]*\r\n)*\z`)

// FuzzSession holds that no dialogue makes a panic, a malformed reply, a message that was not acknowledged,
// an acknowledgement without a message, or stored content with bare line ends.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" +
			"Subject: x\r\n\r\nb\r\n.\r\nQUIT\r\n",
		"EHLO x\r\nMAIL FROM:<> SIZE=10 BODY=8BITMIME ENVID=a+2Bb RET=HDRS SMTPUTF8\r\nRCPT TO:<\"a b\"@d> " +
			"NOTIFY=NEVER ORCPT=rfc822;x\r\nDATA\r\n..\r\n.\r\n",
		"EHLO x\r\nAUTH PLAIN\r\nAGFwcABwYXNz\r\nAUTH LOGIN\r\nYXBw\r\n*\r\nSTARTTLS\r\nBDAT 3 LAST\r\nabc",
		"HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<postmaster>\r\nDATA\r\na\nb\r\n.\rx\r\n.\r\n",
		"RSET\nNOOP\nVRFY x\r\nHELP\r\nEXPN\r\nGET / HTTP/1.1\r\n",
		"EHLO x\r\nMAIL FROM:<@a,@b:c@d>\r\nMAIL FROM:<x@y>\r\nRCPT TO:<u@[IPv6:::1]>\r\nDATA x\r\nDATA   " +
			"\r\n.\r\nMAIL FROM:<x@y>\r\n",
	} {
		f.Add(seed, false, false)
		f.Add(seed, true, false)
		f.Add(strings.ReplaceAll(strings.ReplaceAll(seed, "\r", ""), " ", "\t"), false, true)
	}
	st := &store{}
	panicked := make(chan string, 1)
	o := testOptions(st)
	o.Access.Users, o.Access.AuthInClear = testUsers(f, "app", "pass"), true
	o.Log = slog.New(panicHandler{slog.DiscardHandler, panicked})
	o.Limits.CommandTimeout, o.Limits.DataTimeout = time.Second, time.Second
	s, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	l := newPipes()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, Listen{}) }()
	f.Cleanup(func() { s.Shutdown(context.Background()); <-served })
	f.Fuzz(func(t *testing.T, input string, normalize, lenient bool) {
		o := o
		if lenient {
			o.Domain = "d.test"
			o.Access.Networks = []Network{LoopbackNetwork()}
			o.Access.Networks[0].Lenient, o.Access.Networks[0].Auth = true, AuthAny
		}
		o.NormalizeNewlines = normalize
		if err := s.Reload(o); err != nil {
			t.Fatal(err)
		}
		st.forget()
		client, server := net.Pipe()
		l.c <- fromLoopback{server}
		go func() {
			io.WriteString(client, input+"\r\n.\r\nRSET\r\nQUIT\r\n")
			time.AfterFunc(3*time.Second, func() { client.Close() })
		}()
		replies, _ := io.ReadAll(client)
		for s.Sessions() > 0 {
			time.Sleep(100 * time.Microsecond)
		}
		client.Close()
		select {
		case text := <-panicked:
			t.Fatalf("%s", text)
		default:
		}
		if !replyLines.Match(replies) {
			t.Fatalf("replies %q", replies)
		}
		stored := st.messages()
		if n := strings.Count(string(replies), "250 2.0.0 Ok: queued as "); n != len(stored) {
			t.Fatalf("%d stored, %d acknowledged", len(stored), n)
		}
		for _, m := range stored {
			crlf := strings.Count(m.content, "\r\n")
			if strings.Count(m.content, "\r") != crlf || strings.Count(m.content, "\n") != crlf ||
				strings.Contains(m.content, "\x00") {
				t.Fatalf("stored %q", m.content)
			}
		}
	})
}

// panicHandler is a log that tells of panics.
type panicHandler struct {
	slog.Handler
	panicked chan string
}

func (panicHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h panicHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), "panic") {
			select {
			case h.panicked <- a.Value.String():
			default:
			}
		}
		return true
	})
	return nil
}

func (h panicHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
