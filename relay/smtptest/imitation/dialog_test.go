package imitation_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imitation"
)

// start runs an imitation with TLS from the first byte.
func start(t *testing.T, name string, base smtptest.Options, s imitation.Settings) *smtptest.Server {
	t.Helper()
	i, err := imitation.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, i, base, s)
}

// run is start for an imitation that a test has changed.
func run(t *testing.T, i *imitation.Imitation, base smtptest.Options, s imitation.Settings) *smtptest.Server {
	t.Helper()
	i.Implicit = true
	o, err := i.Options(base, s)
	if err != nil {
		t.Fatal(err)
	}
	return smtptest.New(t, o)
}

// talk is a client in the middle of a session.
type talk struct {
	t *testing.T
	c *smtptest.Client
}

// connect opens a connection and reads the greeting.
func connect(t *testing.T, s *smtptest.Server, greeting string) talk {
	t.Helper()
	c, err := smtptest.Connect(t.Context(), s.Addr(),
		smtptest.ClientOptions{TLS: &tls.Config{InsecureSkipVerify: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k := talk{t, c}
	k.hears(greeting)
	return k
}

// login opens a session as u with the password p.
func login(t *testing.T, s *smtptest.Server) talk {
	t.Helper()
	k := connect(t, s, "220 ")
	k.says("EHLO host.a.test", "250 ")
	k.says("AUTH LOGIN", "334 ")
	k.says(b64("u"), "334 ")
	k.says(b64("p"), "235 ")
	return k
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// says sends a line and compares the last line of the reply.
func (k talk) says(line, want string) {
	k.t.Helper()
	k.c.Say("%s", line)
	k.hears(want)
}

func (k talk) hears(want string) {
	k.t.Helper()
	r, err := k.c.Reply()
	if err != nil || !strings.HasPrefix(r.String(), want) {
		k.t.Fatalf("heard %q, %v; want %q", r, err, want)
	}
}

// over expects the end of the connection.
func (k talk) over() {
	k.t.Helper()
	if r, err := k.c.Reply(); !errors.Is(err, io.EOF) {
		k.t.Fatalf("heard %q, %v; want the end", r, err)
	}
}

// envelope sends MAIL and RCPT.
func (k talk) envelope() {
	k.t.Helper()
	k.says("MAIL FROM:<a@a.test>", "250 ")
	k.says("RCPT TO:<b@b.test>", "250 ")
}

// put sends a message.
func (k talk) put() {
	k.t.Helper()
	k.envelope()
	k.says("DATA", "354 ")
	k.says("x\r\n.", "250 ")
}

// TestConnections: Microsoft 365 refuses the fourth connection at DATA, and makes room when another session
// ends.
func TestConnections(t *testing.T) {
	ended := make(chan int, 9)
	m365 := start(t, "m365", smtptest.Options{Ended: func(n int) { ended <- n }}, imitation.Settings{})
	first := login(t, m365)
	for range 2 {
		login(t, m365).put()
	}
	fourth := login(t, m365)
	fourth.envelope()
	fourth.says("DATA", "432 4.3.2 Concurrent connections limit exceeded. Visit")
	first.says("QUIT", "221 ")
	first.c.Close()
	<-ended
	fourth.says("RSET", "250 ")
	fourth.put()
}

func TestMessagesOnAConnection(t *testing.T) {
	k := login(t, start(t, "sparkpost", smtptest.Options{}, imitation.Settings{}))
	for range 100 {
		k.put()
	}
	k.says("MAIL FROM:<a@a.test>", "421 4.7.0 Too many messages")
	k.over()
}

func TestRecipients(t *testing.T) {
	k := login(t, start(t, "yandex", smtptest.Options{}, imitation.Settings{}))
	k.says("MAIL FROM:<a@a.test>", "250 ")
	for range 35 {
		k.says("RCPT TO:<b@b.test>", "250 ")
	}
	k.says("RCPT TO:<b@b.test>", "452 4.5.3 Too many recipients")
}

func TestSize(t *testing.T) {
	k := login(t, start(t, "gmail", smtptest.Options{}, imitation.Settings{}))
	k.says("MAIL FROM:<a@a.test> SIZE=35882578", "552 5.3.4 Your message exceeded")
	k.says("MAIL FROM:<a@a.test> SIZE=35882577", "250 ")

	ses, err := imitation.ByName("ses")
	if err != nil {
		t.Fatal(err)
	}
	ses.Size.Limit = 20000
	k = login(t, run(t, ses, smtptest.Options{}, imitation.Settings{}))
	k.says("MAIL FROM:<a@a.test> SIZE=3", "555 ") // SIZE is not offered
	k.envelope()
	k.says("DATA", "354 ")
	k.says(strings.Repeat(strings.Repeat("x", 998)+"\r\n", 21)+".", "552 5.3.4")
}

func TestHelloMustBePublic(t *testing.T) {
	s := start(t, "gmail-relay", smtptest.Options{}, imitation.Settings{})
	for _, name := range []string{"localhost", "0f3a9c1b2d4e", "localhost.localdomain"} {
		k := connect(t, s, "220 smtp-relay.gmail.com ESMTP")
		k.says("EHLO "+name, "421 4.7.0 Try again later, closing connection. (EHLO)")
		k.over()
	}
	login(t, s).put()
}

// TestIdle: the words, and the end, after half a second in place of ten.
func TestIdle(t *testing.T) {
	k := login(t, start(t, "ses", smtptest.Options{}, imitation.Settings{Speed: 20}))
	began := time.Now()
	k.hears("451 4.4.2 Timeout waiting for data from client.")
	k.over()
	if silent := time.Since(began); silent > 8*time.Second {
		t.Errorf("cut after %s", silent)
	}
}

// TestNothingWithoutTLSAndAUTH: a plain session gets no further than EHLO, which shows what the provider's
// does.
func TestNothingWithoutTLSAndAUTH(t *testing.T) {
	i, err := imitation.ByName("m365")
	if err != nil {
		t.Fatal(err)
	}
	o, err := i.Options(smtptest.Options{}, imitation.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtptest.Connect(t.Context(), smtptest.New(t, o).Addr(), smtptest.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := talk{t, c}
	k.hears("220 AM0PR01CA0001.outlook.office365.com Microsoft ESMTP MAIL Service ready at ")
	k.says("EHLO host.a.test", "250 SMTPUTF8")
	k.says("AUTH LOGIN", "538 ")
	k.says("MAIL FROM:<>", "530 ")

	k = connect(t, start(t, "m365", smtptest.Options{}, imitation.Settings{}), "220 ")
	k.says("EHLO host.a.test", "250 SMTPUTF8")
	k.says("MAIL FROM:<>", "530 ")
	k.says("AUTH PLAIN "+b64("\x00u\x00p"), "504 ")
}

// TestUsers: any user with any password, or the given ones alone.
func TestUsers(t *testing.T) {
	one := imitation.Settings{Users: map[string]string{"u": "p"}}
	for _, tt := range []struct {
		s           imitation.Settings
		login, want string
	}{
		{imitation.Settings{}, "\x00any\x00thing", "235 "},
		{imitation.Settings{}, "\x00\x00thing", "535 Authentication Credentials Invalid"},
		{one, "\x00u\x00p", "235 Authentication successful."},
		{one, "\x00u\x00q", "535 Authentication Credentials Invalid"},
		{one, "\x00v\x00p", "535 Authentication Credentials Invalid"},
	} {
		k := connect(t, start(t, "ses", smtptest.Options{}, tt.s), "220 ")
		k.says("EHLO host.a.test", "250 Ok")
		k.says("AUTH PLAIN "+b64(tt.login), tt.want)
	}
}

// TestScriptComesFirst: what the caller asks for goes before what the provider does.
func TestScriptComesFirst(t *testing.T) {
	s := start(t, "ses", smtptest.Options{Script: func(cmd smtptest.Command) smtptest.Action {
		if cmd.Stage == diagnose.StageRcpt && strings.HasPrefix(cmd.Address, "full@") {
			return smtptest.Action{Reply: "452 4.2.2 Full"}
		}
		return smtptest.Action{}
	}}, imitation.Settings{})
	k := login(t, s)
	k.says("MAIL FROM:<a@a.test>", "250 ")
	k.says("RCPT TO:<full@b.test>", "452 4.2.2 Full")
	k.says("RCPT TO:<b@b.test>", "250 ")
}
