package smtptest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// client speaks raw SMTP.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// greet dials, reads the greeting and says EHLO.
func greet(t *testing.T, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.want("220 ")
	c.do("EHLO client.test", "250")
	return c
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("writing %q: %v", s, err)
	}
}

// reply reads one reply, all its lines.
func (c *client) reply() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("reading a reply after %q: %v", all.String(), err)
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return all.String()
		}
	}
}

func (c *client) want(prefix string) string {
	c.t.Helper()
	got := c.reply()
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("got %q, want %q...", got, prefix)
	}
	return got
}

func (c *client) do(line, prefix string) string {
	c.t.Helper()
	c.write(line + "\r\n")
	return c.want(prefix)
}

// eof wants the connection to be over.
func (c *client) eof() error {
	_, err := c.r.ReadByte()
	return err
}

func TestTransaction(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	c := greet(t, s.Addr())
	c.do("MAIL FROM:<a@b.test> SIZE=10 RET=HDRS", "250 2.1.0")
	c.do("RCPT TO:<x@y.test> NOTIFY=NEVER", "250 2.1.5")
	c.do(`RCPT TO:<"a>b"@y.test>`, "250 2.1.5")
	c.do("DATA", "354")
	c.do("Subject: x\r\n\r\n..dot\r\n.", "250 2.0.0 Ok: queued as 1-1")
	c.do("QUIT", "221")
	if err := c.eof(); err != io.EOF {
		t.Errorf("after QUIT: %v, want EOF", err)
	}
	m := s.Messages()[0]
	if want := "Subject: x\r\n\r\n.dot\r\n"; string(m.Content) != want || m.Size != int64(len(want)) {
		t.Errorf("content %q of %d bytes, want %q", m.Content, m.Size, want)
	}
	if m.From != "a@b.test" || m.FromParams != "SIZE=10 RET=HDRS" || len(m.To) != 2 ||
		m.To[0] != (smtptest.Recipient{Address: "x@y.test", Params: "NOTIFY=NEVER"}) ||
		m.To[1].Address != `"a>b"@y.test` {
		t.Errorf("envelope %+v", m)
	}
	k := s.Sessions()[0]
	if k.Hello != "client.test" || k.Messages != 1 || len(k.Commands) != 6 ||
		k.Commands[1] != "MAIL FROM:<a@b.test> SIZE=10 RET=HDRS" {
		t.Errorf("session %+v", k)
	}
	if got := s.Stats(); got.Messages != 1 || got.Recipients != 2 || got.Sessions != 1 || got.Refused != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestPipelinedGroupIsAnsweredInOneWrite(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Address == "no@y.test" {
			return smtptest.Action{Reply: "550-5.1.1 no\n550 5.1.1 such user"}
		}
		return smtptest.Action{}
	}})
	c := greet(t, s.Addr())
	c.write("MAIL FROM:<a@b.test>\r\nRCPT TO:<no@y.test>\r\nRCPT TO:<yes@y.test>\r\nDATA\r\n")
	want := "250 2.1.0 Sender ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n250 2.1.5 Recipient ok\r\n" +
		"354 End data with <CR><LF>.<CR><LF>\r\n"
	if got := c.reply() + c.reply() + c.reply() + c.reply(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.do("x\r\n.", "250")
	if n := len(s.Messages()[0].To); n != 1 {
		t.Errorf("%d recipients, want 1", n)
	}
	if n := s.Stats().Refused; n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
}

func TestOutOfOrderAndUnofferedAreRefused(t *testing.T) {
	users := map[string]string{"u": "p"}
	tests := []struct {
		name  string
		opt   smtptest.Options
		lines []string
		want  string // of the last line
	}{
		{"mail before ehlo", smtptest.Options{}, []string{"MAIL FROM:<a@b.test>"}, "503 5.5.1"},
		{"rcpt before mail", smtptest.Options{}, []string{"EHLO x", "RCPT TO:<a@b.test>"}, "503 5.5.1"},
		{"data before rcpt", smtptest.Options{}, []string{"EHLO x", "MAIL FROM:<>", "DATA"}, "554 5.5.1"},
		{"nested mail", smtptest.Options{}, []string{"EHLO x", "MAIL FROM:<>", "MAIL FROM:<>"}, "503 5.5.1"},
		{
			"space before bracket",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM: <a@b.test>"},
			"501 5.5.4",
		},
		{"no bracket", smtptest.Options{}, []string{"EHLO x", "MAIL FROM:a@b.test"}, "501 5.5.4"},
		{
			"unknown parameter",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM:<a@b.test> FOO=1"},
			"555 5.5.4",
		},
		{
			"dsn not offered",
			smtptest.Options{Without: []string{"dsn"}},
			[]string{"EHLO x", "MAIL FROM:<> RET=HDRS"},
			"555 5.5.4",
		},
		{
			"body not offered",
			smtptest.Options{Without: []string{"8BITMIME"}},
			[]string{"EHLO x", "MAIL FROM:<> BODY=8BITMIME"},
			"555",
		},
		{
			"auth parameter without auth",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM:<> AUTH=<>"},
			"555",
		},
		{"utf8 undeclared", smtptest.Options{}, []string{"EHLO x", "MAIL FROM:<ä@b.test>"}, "553 5.6.7"},
		{
			"utf8 declared",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM:<ä@b.test> SMTPUTF8", "RCPT TO:<ö@b.test>"},
			"250",
		},
		{
			"declared size",
			smtptest.Options{SizeLimit: 99},
			[]string{"EHLO x", "MAIL FROM:<> SIZE=100"},
			"552 5.3.4",
		},
		{
			"auth required",
			smtptest.Options{Users: users, RequireAuth: true},
			[]string{"EHLO x", "MAIL FROM:<>"},
			"530 5.7.0",
		},
		{"mechanism", smtptest.Options{Users: users}, []string{"EHLO x", "AUTH GSSAPI"}, "504 5.5.4"},
		{"no starttls", smtptest.Options{}, []string{"EHLO x", "STARTTLS"}, "502 5.5.1"},
		{"unknown", smtptest.Options{}, []string{"EHLO x", "TURN"}, "500 5.5.1"},
		{
			"ehlo resets",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM:<>", "EHLO x", "RCPT TO:<a@b.test>"},
			"503",
		},
		{
			"rset resets",
			smtptest.Options{},
			[]string{"EHLO x", "MAIL FROM:<>", "RSET", "RCPT TO:<a@b.test>"},
			"503",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, smtptest.New(t, tt.opt).Addr())
			c.want("220 ")
			last := ""
			for _, l := range tt.lines {
				last = c.do(l, "")
			}
			if !strings.HasPrefix(last, tt.want) {
				t.Errorf("got %q, want %q...", last, tt.want)
			}
		})
	}
}

// put sends one content and returns the reply to it.
func (c *client) put(content string) string {
	c.t.Helper()
	c.do("MAIL FROM:<a@b.test>", "250")
	c.do("RCPT TO:<x@y.test>", "250")
	c.do("DATA", "354")
	return c.do(content+"\r\n.", "")
}

func TestContentLineEnds(t *testing.T) {
	long := strings.Repeat("x", 40000)
	edge := strings.Repeat("x", 32<<10-1) // the CR is the buffer's last byte
	tests := []struct {
		name, sent, want string
		cr, lf           bool
	}{
		{"plain", "a\r\nb", "a\r\nb\r\n", false, false},
		{"dots", "..a\r\n...\r\n.b", ".a\r\n..\r\nb\r\n", false, false},
		{"bare lf dot", "a\n.\nb", "a\n.\nb\r\n", false, true},
		{"lf dot crlf", "a\n.\r\nb", "a\n.\r\nb\r\n", false, true},
		{"bare cr", "a\r.\rb", "a\r.\rb\r\n", true, false},
		{"cr cr lf", "a\r\r\nb", "a\r\r\nb\r\n", true, false},
		{"long line", long, long + "\r\n", false, false},
		{"cr at the buffer's edge", edge + "\r\n.\r", edge + "\r\n\r\r\n", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{})
			greet(t, s.Addr()).put(tt.sent)
			m := s.Messages()[0]
			if string(m.Content) != tt.want {
				t.Errorf("content %.80q, want %.80q", m.Content, tt.want)
			}
			if m.BareCR != tt.cr || m.BareLF != tt.lf {
				t.Errorf("bare CR %v, bare LF %v", m.BareCR, m.BareLF)
			}
		})
	}
}

func TestSizeLimitOfContent(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{SizeLimit: 10})
	c := greet(t, s.Addr())
	if got := c.put("12345678"); !strings.HasPrefix(got, "250") {
		t.Errorf("of exactly the limit: %q", got)
	}
	if got := c.put("123456789"); !strings.HasPrefix(got, "552 5.3.4") {
		t.Errorf("over the limit: %q", got)
	}
	if n := len(s.Messages()); n != 1 {
		t.Errorf("%d messages kept, want 1", n)
	}
}

// at makes a Script that does a at one stage.
func at(stage diagnose.Stage, a smtptest.Action) func(smtptest.Command) smtptest.Action {
	return func(c smtptest.Command) smtptest.Action {
		if c.Stage == stage {
			return a
		}
		return smtptest.Action{}
	}
}

func TestScriptEnds(t *testing.T) {
	tests := []struct {
		name  string
		a     smtptest.Action
		said  string
		ended func(error) bool
	}{
		{
			"close",
			smtptest.Action{Reply: "421 4.3.2 bye", End: smtptest.EndClose},
			"421 4.3.2 bye\r\n",
			func(err error) bool { return err == io.EOF },
		},
		{
			"close in silence",
			smtptest.Action{End: smtptest.EndClose},
			"",
			func(err error) bool { return err == io.EOF },
		},
		{
			"reset",
			smtptest.Action{End: smtptest.EndReset},
			"",
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") },
		},
		{
			"any bytes",
			smtptest.Action{Bytes: []byte("\xff\n\r"), End: smtptest.EndClose},
			"\xff\n\r",
			func(err error) bool { return err == io.EOF },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Script: at(diagnose.StageMail, tt.a)})
			c := greet(t, s.Addr())
			c.write("MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\n")
			said, err := io.ReadAll(c.r)
			if err == nil {
				err = io.EOF
			}
			if string(said) != tt.said || !tt.ended(err) {
				t.Errorf("got %q, %v; want %q", said, err, tt.said)
			}
		})
	}
}

func TestStallLastsUntilClose(t *testing.T) {
	s := smtptest.New(
		t,
		smtptest.Options{
			Script: at(diagnose.StageData, smtptest.Action{Reply: "354 go", End: smtptest.EndStall}),
		},
	)
	c := greet(t, s.Addr())
	c.do("MAIL FROM:<>", "250")
	c.do("RCPT TO:<x@y.test>", "250")
	c.do("DATA", "354 go")
	c.write("x\r\n.\r\n")
	c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if err := c.eof(); err == nil || err == io.EOF {
		t.Fatalf("stalled connection said something: %v", err)
	}
	s.Close()
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if err := c.eof(); err == nil {
		t.Error("still open after Close")
	}
}

func TestDelayAndDrip(t *testing.T) {
	s := smtptest.New(
		t,
		smtptest.Options{
			Script: at(diagnose.StageMail,
				smtptest.Action{Delay: 30 * time.Millisecond, Drip: time.Millisecond}),
		},
	)
	c := greet(t, s.Addr())
	start := time.Now()
	c.do("MAIL FROM:<>", "250 2.1.0 Sender ok\r\n")
	if d := time.Since(start); d < 45*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
}

func TestTakenThoughTheReplyIsLost(t *testing.T) {
	s := smtptest.New(
		t,
		smtptest.Options{
			Script: at(diagnose.StageEndOfData, smtptest.Action{Take: true, End: smtptest.EndReset}),
		},
	)
	c := greet(t, s.Addr())
	c.do("MAIL FROM:<>", "250")
	c.do("RCPT TO:<x@y.test>", "250")
	c.do("DATA", "354")
	c.write("x\r\n.\r\n")
	if err := c.eof(); err == nil {
		t.Error("a reply came")
	}
	if n := len(s.Messages()); n != 1 {
		t.Errorf("%d messages taken, want 1", n)
	}
}

func TestInterject(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	c := greet(t, s.Addr())
	s.Interject("421 4.3.2 shutting down", smtptest.EndClose)
	c.want("421 4.3.2 shutting down\r\n")
	if err := c.eof(); err == nil {
		t.Error("still open")
	}
}

func TestDeliverErrorDefers(t *testing.T) {
	s := smtptest.New(t,
		smtptest.Options{Deliver: func(*smtptest.Message) error { return fmt.Errorf("disk full") }})
	if got := greet(t, s.Addr()).put("x"); got != "451 4.3.0 disk full\r\n" {
		t.Errorf("got %q", got)
	}
	if n := s.Stats().Messages; n != 0 {
		t.Errorf("%d messages counted", n)
	}
}

func TestWait(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	c := greet(t, s.Addr())
	done := make(chan error, 1)
	go func() { done <- s.Wait(t.Context(), 2) }()
	c.put("1")
	c.put("2")
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, 3); err == nil || !strings.Contains(err.Error(), "2 of 3") {
		t.Errorf("got %v", err)
	}
}

func TestForget(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Forget: true})
	greet(t, s.Addr()).put("x")
	if len(s.Messages()) != 0 || len(s.Sessions()) != 0 || s.Stats().Messages != 1 {
		t.Errorf("kept %d messages and %d sessions; counted %+v", len(s.Messages()), len(s.Sessions()),
			s.Stats())
	}
}

func TestIdleClientIsLeft(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Idle: 20 * time.Millisecond})
	c := greet(t, s.Addr())
	if err := c.eof(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

// TestIdleReply: a client that is silent for too long hears why before the end.
func TestIdleReply(t *testing.T) {
	ended := make(chan int, 1)
	s := smtptest.New(t, smtptest.Options{
		Idle: 20 * time.Millisecond, IdleReply: "451 4.4.2 Timeout",
		Ended: func(session int) { ended <- session },
	})
	c := dial(t, s.Addr())
	c.want("220 ")
	c.want("451 4.4.2 Timeout")
	if err := c.eof(); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
	c.conn.Close()
	if n := <-ended; n != 1 {
		t.Errorf("session %d ended", n)
	}
}

func TestOverlongLine(t *testing.T) {
	c := greet(t, smtptest.New(t, smtptest.Options{}).Addr())
	c.write(strings.Repeat("x", 40000))
	c.want("500 5.5.2")
}
