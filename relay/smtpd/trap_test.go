package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// Each test here is named after a trap of go-smtp v0.25.1. It shows what the library does alone, so that a
// new version that behaves otherwise is noticed, and what the front door does.

// plainBackend records what go-smtp alone hands to a backend.
type plainBackend struct {
	mu       sync.Mutex
	from, to []string
	orcpt    []string
	got      []string
	authErr  error
	dataErr  error
}

func (b *plainBackend) NewSession(*smtp.Conn) (smtp.Session, error) { return plainSession{b}, nil }

type plainSession struct{ b *plainBackend }

func (s plainSession) Reset()                   {}
func (s plainSession) Logout() error            { return nil }
func (s plainSession) AuthMechanisms() []string { return []string{"PLAIN"} }

func (s plainSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, _ string) error { return s.b.authErr }), nil
}

func (s plainSession) Mail(from string, _ *smtp.MailOptions) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.from = append(s.b.from, from)
	return nil
}

func (s plainSession) Rcpt(to string, o *smtp.RcptOptions) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.to = append(s.b.to, to)
	s.b.orcpt = append(s.b.orcpt, string(o.OriginalRecipientType)+";"+o.OriginalRecipient)
	return nil
}

func (s plainSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.got = append(s.b.got, string(b))
	return s.b.dataErr
}

func (b *plainBackend) contents() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

// plain serves go-smtp alone until the test ends.
func plain(t *testing.T, b *plainBackend, set func(*smtp.Server)) string {
	t.Helper()
	s := smtp.NewServer(b)
	s.Domain, s.EnableDSN, s.AllowInsecureAuth = "plain.test", true, true
	s.ReadTimeout = 10 * time.Second
	s.ErrorLog = log.New(io.Discard, "", 0)
	if set != nil {
		set(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// both are sessions after EHLO with go-smtp alone and with the front door.
func both(t *testing.T) (theirs, ours *client, b *plainBackend, st *store) {
	t.Helper()
	b, st = &plainBackend{}, &store{}
	theirs = hello(t, plain(t, b, nil))
	_, addr := start(t, testOptions(st), Listen{})
	return theirs, hello(t, addr), b, st
}

func TestTrapChunkingAdvertised(t *testing.T) {
	theirs, ours, _, _ := both(t)
	if got := theirs.say("EHLO x", "250"); !strings.Contains(got, "CHUNKING") {
		t.Errorf("plain: %q", got)
	}
	if got := ours.say("EHLO x", "250"); strings.Contains(got, "CHUNKING") ||
		strings.Contains(got, "BINARYMIME") {
		t.Errorf("ours: %q", got)
	}
}

// TestTrapBDATTruncated: a last chunk that is cut short is a message to the library's backend.
func TestTrapBDATTruncated(t *testing.T) {
	theirs, ours, b, st := both(t)
	for _, c := range []*client{theirs, ours} {
		c.toRcpt()
	}
	io.WriteString(theirs, "BDAT 1000 LAST\r\nonly this")
	theirs.Conn.(*net.TCPConn).CloseWrite()
	theirs.want("250 2.0.0 OK: queued")
	if got := b.contents(); len(got) != 1 || got[0] != "only this" {
		t.Errorf("plain: %q", got)
	}
	io.WriteString(ours, "BDAT 22 LAST\r\nMAIL FROM:<x@y.test>\r\n")
	ours.want("502 5.5.1 CHUNKING is not supported, use DATA")
	ours.want("")
	if len(st.messages()) != 0 {
		t.Error("ours: stored")
	}
}

func TestTrapEightBitAddressWithoutSMTPUTF8(t *testing.T) {
	theirs, ours, _, _ := both(t)
	for _, c := range []*client{theirs, ours} {
		c.say("MAIL FROM:<a@b.test>", "250")
	}
	theirs.say("RCPT TO:<\xff\xfe@d.test>", "250")
	ours.say("RCPT TO:<\xff\xfe@d.test>", "501 5.1.3 ")
	ours.say("RCPT TO:<gr\u00fc\u00dfe@d.test>", "553 5.6.7 ")
	ours.say("RSET", "250")
	ours.say("MAIL FROM:<a@b.test> SMTPUTF8", "250")
	ours.say("RCPT TO:<gr\u00fc\u00dfe@d.test>", "250")
	ours.say("RCPT TO:<\xff\xfe@d.test>", "501 5.1.3 ")
}

func TestTrapORCPTTypeRefusedAndBytesLost(t *testing.T) {
	theirs, ours, b, st := both(t)
	const odd = "rfc822;JOE+2Bx@d.test"
	for _, c := range []*client{theirs, ours} {
		c.say("MAIL FROM:<a@b.test>", "250")
		c.say("RCPT TO:<c@d.test> ORCPT="+odd, "250")
	}
	theirs.say("RCPT TO:<e@d.test> ORCPT=x400;/c=us", "501")
	ours.say("RCPT TO:<e@d.test> ORCPT=x400;/c+3Dus", "250")
	if b.orcpt[0] != "RFC822;JOE+x@d.test" {
		t.Errorf("plain: %q", b.orcpt)
	}
	ours.say("DATA", "354")
	ours.say(".", "250")
	if r := st.messages()[0].m.Recipients; r[0].ORCPT != odd || r[1].ORCPT != "x400;/c+3Dus" {
		t.Errorf("ours: %+v", r)
	}
}

func TestTrapDuplicateParameter(t *testing.T) {
	theirs, ours, _, _ := both(t)
	theirs.say("MAIL FROM:<a@b.test> RET=FULL RET=HDRS", "250")
	ours.say("MAIL FROM:<a@b.test> RET=FULL RET=HDRS", "501 5.5.4 ")
}

func TestTrapDSNParameterLengths(t *testing.T) {
	theirs, ours, _, _ := both(t)
	long := strings.Repeat("x", 101)
	theirs.say("MAIL FROM:<a@b.test> ENVID="+long, "250")
	ours.say("MAIL FROM:<a@b.test> ENVID="+long, "501 5.5.4 ")
	ours.say("MAIL FROM:<a@b.test> ENVID="+long[:100], "250")
	orcpt := "rfc822;" + strings.Repeat("x", 494)
	theirs.say("RCPT TO:<c@d.test> ORCPT="+orcpt, "250")
	ours.say("RCPT TO:<c@d.test> ORCPT="+orcpt, "501 5.5.4 ")
	ours.say("RCPT TO:<c@d.test> ORCPT="+orcpt[:500], "250")
}

func TestTrapUnknownParameterReply(t *testing.T) {
	theirs, ours, _, _ := both(t)
	theirs.say("MAIL FROM:<a@b.test> BY=120;R", "500 5.5.4 ")
	ours.say("MAIL FROM:<a@b.test> BY=120;R", "555 5.5.4 ")
	ours.say("MAIL FROM:<a@b.test>", "250")
	ours.say("RCPT TO:<c@d.test> MT-PRIORITY=3", "555 5.5.4 ")
	ours.say("RCPT TO:<c@d.test> RRVS=2014-04-03T23:01:00Z", "555 5.5.4 ")
}

func TestTrapAuthFailuresUnlimited(t *testing.T) {
	theirs := hello(t, plain(t, &plainBackend{authErr: smtp.ErrAuthFailed}, nil))
	for range 25 {
		theirs.say("AUTH PLAIN AGEAYg==", "535")
	}
	o := testOptions(&store{})
	o.Access.Users, o.Access.AuthInClear = testUsers(t, "a", "right"), true
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	for range o.Limits.AuthFailures {
		ours.say("AUTH PLAIN AGEAYg==", "535 5.7.8 ")
	}
	ours.want("421 4.7.0 ")
	ours.want("")
}

// TestTrapErrorTextLeaks: errors that are no *SMTPError, and wrapped ones, are told to the client by the
// library.
func TestTrapErrorTextLeaks(t *testing.T) {
	theirs := hello(t, plain(t, &plainBackend{
		authErr: errors.New("ldap: secret-host:389 down"),
		dataErr: fmt.Errorf("/secret/path: %w", smtp.ErrDataTooLarge),
	}, nil))
	theirs.say("AUTH PLAIN AGEAYg==", "454 4.7.0 ldap: secret-host:389 down")
	if got := theirs.mail("x\r\n", "554"); !strings.Contains(got, "/secret/path") {
		t.Errorf("plain: %q", got)
	}
	st := &store{fail: fmt.Errorf("/secret/path: %w", errors.New("disk on fire"))}
	_, addr := start(t, testOptions(st), Listen{})
	if got := hello(t, addr).mail("x\r\n", "451 4.3.0 "); strings.Contains(got, "secret") {
		t.Errorf("ours: %q", got)
	}
	st.fail = fmt.Errorf("/secret/path: %w", relay.ErrFull)
	if got := hello(t, addr).mail("x\r\n", "452 4.3.1 "); strings.Contains(got, "secret") {
		t.Errorf("ours: %q", got)
	}
}

func TestTrapAuthInTransaction(t *testing.T) {
	theirs, _, _, _ := both(t)
	theirs.say("MAIL FROM:<a@b.test>", "250")
	theirs.say("AUTH PLAIN AGEAYg==", "235")
	o := testOptions(&store{})
	o.Access.Users, o.Access.AuthInClear = testUsers(t, "a", "b"), true
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	ours.say("MAIL FROM:<a@b.test>", "250")
	ours.say("AUTH PLAIN AGEAYg==", "503 5.5.1 ")
}

func TestTrapFailedHandshakeGoesOnInClear(t *testing.T) {
	serverTLS, _ := testTLS(t)
	theirs := hello(t, plain(t, &plainBackend{}, func(s *smtp.Server) { s.TLSConfig = serverTLS }))
	theirs.say("STARTTLS", "220")
	io.WriteString(theirs, "not a handshake, but long enough to be one\r\n")
	for line, err := theirs.r.ReadString('\n'); err == nil && !strings.HasPrefix(line, "550"); {
		line, err = theirs.r.ReadString('\n') // after the alert, which is binary
	}
	theirs.say("MAIL FROM:<a@b.test>", "250")

	o := testOptions(&store{})
	o.TLS = func() *tls.Config { return serverTLS }
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	ours.say("STARTTLS", "220")
	io.WriteString(ours, "not a handshake, but long enough to be one\r\n")
	io.WriteString(ours, "MAIL FROM:<a@b.test>\r\n")
	if rest, _ := io.ReadAll(ours.r); bytes.Contains(rest, []byte("250")) ||
		bytes.Contains(rest, []byte("550")) {
		t.Errorf("ours: %q", rest)
	}
}

func TestTrapSTARTTLSPrefix(t *testing.T) {
	serverTLS, _ := testTLS(t)
	theirs := hello(t, plain(t, &plainBackend{}, func(s *smtp.Server) { s.TLSConfig = serverTLS }))
	theirs.say("STARTTLSxyz", "220")
	o := testOptions(&store{})
	o.TLS = func() *tls.Config { return serverTLS }
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	ours.say("STARTTLSxyz", "500 5.5.1 ")
	ours.say("STARTTLS xyz", "501 5.5.4 ")
}

func TestTrapHandshakeHangs(t *testing.T) {
	serverTLS, _ := testTLS(t)
	for _, implicit := range []bool{false, true} {
		o := testOptions(&store{})
		o.Limits.HandshakeTime = 50 * time.Millisecond
		o.TLS = func() *tls.Config { return serverTLS }
		_, addr := start(t, o, Listen{TLS: implicit})
		c := dial(t, addr)
		if !implicit {
			c.want("220")
			c.say("EHLO x", "250")
			c.say("STARTTLS", "220")
		} else {
			c.want("421 4.7.0 This port begins with TLS") // see TestClearOnATLSListener
		}
		c.want("") // or the test's deadline
	}
}

func TestTrapUnlimitedRecipients(t *testing.T) {
	theirs, _, _, _ := both(t)
	o := testOptions(&store{})
	o.Limits.Recipients = 3
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	theirs.say("MAIL FROM:<a@b.test>", "250")
	ours.say("MAIL FROM:<a@b.test>", "250")
	for i := range 2000 {
		theirs.send(fmt.Sprintf("RCPT TO:<u%d@d.test>", i))
		theirs.want("250")
	}
	for i := range 10 {
		want := "250"
		if i >= 3 {
			want = "452 4.5.3 "
		}
		ours.say(fmt.Sprintf("RCPT TO:<u%d@d.test>", i), want)
	}
	ours.say("DATA", "354")
	ours.say(".", "250")
}

func TestTrapExactSizeRefused(t *testing.T) {
	content := strings.Repeat("x", 98) + "\r\n"
	theirs := hello(t, plain(t, &plainBackend{}, func(s *smtp.Server) { s.MaxMessageBytes = 100 }))
	theirs.mail(content, "552")
	st := &store{}
	o := testOptions(st)
	o.Limits.MessageSize = 100
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	ours.mail(content, "250")
	ours.mail("x"+content, "552 5.3.4 ")
	ours.say("MAIL FROM:<a@b.test> SIZE=101", "552 5.3.4 ")
	ours.say("MAIL FROM:<a@b.test> SIZE=100", "250")
	if got := st.messages(); len(got) != 1 || got[0].body() != content {
		t.Errorf("ours: %d messages", len(got))
	}
}

func TestTrapSizeOver32Bits(t *testing.T) {
	theirs, ours, _, _ := both(t)
	theirs.say("MAIL FROM:<a@b.test> SIZE=4294967296", "501")
	for _, size := range []string{"4294967296", "9223372036854775808", "99999999999999999999"} {
		ours.say("MAIL FROM:<a@b.test> SIZE="+size, "552 5.3.4 ")
	}
	ours.say("MAIL FROM:<a@b.test> SIZE=100000000000000000000", "501 5.5.4 ")
	ours.say("MAIL FROM:<a@b.test> SIZE=-1", "501 5.5.4 ")
}

func TestTrapLineLimitInData(t *testing.T) {
	theirs, ours, _, st := both(t)
	content := strings.Repeat("x", 1<<20-2) + "\r\n"
	theirs.toData()
	go io.WriteString(theirs, content+".\r\n")
	theirs.want("554 5.0.0 Error: transaction failed: smtp: too long a line")
	ours.mail(content, "250")
	if got := st.messages(); len(got) != 1 || got[0].body() != content {
		t.Errorf("ours: %d messages", len(got))
	}
	ours.mail("x"+content, "554 5.6.0 ")
	ours.mail("x\r\n", "250")
}

// TestTrapReadTimeoutCoversData: the library's one deadline bounds the whole content, however steadily it
// comes.
func TestTrapReadTimeoutCoversData(t *testing.T) {
	theirs := hello(t, plain(t, &plainBackend{},
		func(s *smtp.Server) { s.ReadTimeout = 200 * time.Millisecond }))
	o := testOptions(&store{})
	o.Limits.CommandTimeout, o.Limits.DataTimeout = 200*time.Millisecond, 200*time.Millisecond
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	for _, c := range []*client{theirs, ours} {
		c.toData()
	}
	for range 8 {
		io.WriteString(theirs, "steady\r\n")
		io.WriteString(ours, "steady\r\n")
		time.Sleep(50 * time.Millisecond)
	}
	theirs.want("554 5.0.0 Error: transaction failed: read tcp")
	ours.say(".", "250")
}

// TestTrapDataTimeoutDesync: after a time-out in DATA the library runs the rest of the body as commands.
func TestTrapDataTimeoutDesync(t *testing.T) {
	b, st := &plainBackend{}, &store{}
	theirs := hello(t, plain(t, b, func(s *smtp.Server) { s.ReadTimeout = 100 * time.Millisecond }))
	o := testOptions(st)
	o.Limits.DataTimeout = 100 * time.Millisecond
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	const evil = "MAIL FROM:<evil@b.test>\r\nRCPT TO:<victim@d.test>\r\nDATA\r\nsmuggled\r\n.\r\n"
	for _, c := range []*client{theirs, ours} {
		c.toData()
		io.WriteString(c, "first part\r\n")
	}
	theirs.want("554")
	io.WriteString(theirs, evil)
	theirs.want("250")
	theirs.want("250")
	theirs.want("354")
	theirs.want("250")
	if got := b.contents(); len(got) != 1 || got[0] != "smuggled\r\n" {
		t.Errorf("plain: %q", got)
	}
	ours.want("421 4.4.2 ")
	io.WriteString(ours, evil)
	ours.want("")
	if len(st.messages()) != 0 {
		t.Error("ours: stored")
	}
}

func TestTrapRefusalsNeverCount(t *testing.T) {
	theirs, _, _, _ := both(t)
	for range 100 {
		theirs.say("RCPT TO:<x@d.test>", "502")
	}
	o := testOptions(&store{})
	o.Limits.Errors = 10
	_, addr := start(t, o, Listen{})
	for _, line := range []string{"RCPT TO:<x@d.test>", "XYZZ", ".", ""} {
		ours := hello(t, addr)
		for range 10 {
			ours.say(line, "50")
		}
		ours.want("421 4.7.0 ")
		ours.want("")
	}
}

// TestTrapErrorLimitIsThree: the library closes after three commands it does not know; ours is configurable.
func TestTrapErrorLimitIsThree(t *testing.T) {
	theirs, ours, _, _ := both(t)
	for range 4 {
		theirs.say("XYZZ", "500")
	}
	theirs.want("500 5.5.1 Too many errors")
	for range 10 {
		ours.say("XYZZ", "500 5.5.1 ")
	}
	ours.mail("x\r\n", "250")
}

func TestTrapShutdownLeavesIdleClients(t *testing.T) {
	b := &plainBackend{}
	s := smtp.NewServer(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	theirs := hello(t, l.Addr().String())
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("plain: %v", err)
	}
	theirs.say("NOOP", "250")
	theirs.Close()

	srv, addr := start(t, testOptions(&store{}), Listen{})
	ours := hello(t, addr)
	began := time.Now()
	if err := srv.Shutdown(context.Background()); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("ours: %v after %v", err, time.Since(began))
	}
	ours.want("421 4.3.2 ")
	ours.want("")
}

func TestTrapRepliesEchoTheAddress(t *testing.T) {
	theirs, ours, _, _ := both(t)
	if got := theirs.say("MAIL FROM:<a\x1bc@b.test>", "250"); !strings.Contains(got, "\x1bc") {
		t.Errorf("plain: %q", got)
	}
	ours.say("MAIL FROM:<a\x1bc@b.test>", "500 5.5.2 ")
	if got := ours.say("MAIL FROM:<a@b.test>", "250"); strings.Contains(got, "a@b.test") {
		t.Errorf("ours: %q", got)
	}
}

func TestTrapPostmaster(t *testing.T) {
	theirs, ours, _, _ := both(t)
	for _, c := range []*client{theirs, ours} {
		c.say("MAIL FROM:<a@b.test>", "250")
	}
	theirs.say("RCPT TO:<postmaster>", "501")
	ours.say("RCPT TO:<postmaster>", "250")
}

// TestTrapEnvelopeInjection: the library unquotes a local part, and what comes out is another command when
// it is sent on.
func TestTrapEnvelopeInjection(t *testing.T) {
	theirs, ours, b, st := both(t)
	const path = `<"victim@evil.test> ORCPT=rfc822;a"@allowed.test>`
	for _, c := range []*client{theirs, ours} {
		c.say("MAIL FROM:<a@b.test>", "250")
		c.say("RCPT TO:"+path, "250")
	}
	if b.to[0] != "victim@evil.test> ORCPT=rfc822;a@allowed.test" {
		t.Errorf("plain: %q", b.to)
	}
	ours.say("DATA", "354")
	ours.say(".", "250")
	if got := "<" + st.messages()[0].m.Recipients[0].Address + ">"; got != path {
		t.Errorf("ours: %q", got)
	}
}

func TestTrapControlsInAddressAndHello(t *testing.T) {
	theirs, ours, b, _ := both(t)
	theirs.say("EHLO evil\rX-Injected: 1\x00", "250")
	theirs.say("MAIL FROM:<a\x00b\rc@d.test>", "250")
	if b.from[0] != "a\x00b\rc@d.test" {
		t.Errorf("plain: %q", b.from)
	}
	ours.say("EHLO evil\rX-Injected: 1\x00", "500 5.5.2 ")
	ours.say("MAIL FROM:<a\x00b\rc@d.test>", "500 5.5.2 ")
	ours.say("MAIL FROM:<\"a\x00b\rc\"@d.test>", "500 5.5.2 ")
}

func TestTrapBareNewlinesAccepted(t *testing.T) {
	for _, content := range []string{
		"a\nb\r\n.\r\n", "a\n.\nb\r\n.\r\n", "a\n.\r\nb\r\n.\r\n", "a\r\n.\nb\r\n.\r\n", "a\r.\r\nb\r\n.\r\n",
		"a\r\n\x00.\r\n.\r\n",
		"a\rb\r\n.\r\n",
	} {
		theirs, ours, b, st := both(t)
		for _, c := range []*client{theirs, ours} {
			c.toData()
			io.WriteString(c, content)
		}
		theirs.want("250")
		if len(b.contents()) != 1 {
			t.Errorf("plain: %q not accepted", content)
		}
		ours.want("554 5.6.0 ")
		ours.want("")
		if len(st.messages()) != 0 {
			t.Errorf("ours: %q stored", content)
		}
	}
}

// TestTrapCRLostInDotLine: the library drops the CR of "\r\n.\rX" and of "\r\n.\r\r\n", which can make a
// header end early.
func TestTrapCRLostInDotLine(t *testing.T) {
	for content, altered := range map[string]string{
		"Subject: x\r\n.\rX-Y: z\r\n\r\nb\r\n.\r\n":    "Subject: x\r\nX-Y: z\r\n\r\nb\r\n",
		"Subject: x\r\n.\r\r\nTo: y\r\n\r\nb\r\n.\r\n": "Subject: x\r\n\r\nTo: y\r\n\r\nb\r\n",
	} {
		theirs, ours, b, st := both(t)
		for _, c := range []*client{theirs, ours} {
			c.toData()
			io.WriteString(c, content)
		}
		theirs.want("250")
		if got := b.contents(); len(got) != 1 || got[0] != altered {
			t.Errorf("plain: %q", got)
		}
		ours.want("554 5.6.0 Bare CR")
		if len(st.messages()) != 0 {
			t.Error("ours: stored")
		}
	}
}

// TestTrapEndMissedAfterDoubleCR: "\r\r\n.\r\n" holds CRLF.CRLF, and the library reads on.
func TestTrapEndMissedAfterDoubleCR(t *testing.T) {
	theirs, ours, b, _ := both(t)
	for _, c := range []*client{theirs, ours} {
		c.toData()
	}
	io.WriteString(theirs, "a\r\r\n.\r\nNOOP\r\n.\r\n")
	theirs.want("250 2.0.0 OK: queued")
	if got := b.contents(); len(got) != 1 || !strings.Contains(got[0], "NOOP") {
		t.Errorf("plain: %q", got)
	}
	io.WriteString(ours, "a\r\r\n.\r\nNOOP\r\n.\r\n")
	ours.want("554 5.6.0 Bare CR")
	ours.want("")
}

func TestTrapNestedMail(t *testing.T) {
	theirs, ours, b, _ := both(t)
	for _, c := range []*client{theirs, ours} {
		c.toRcpt()
	}
	theirs.say("MAIL FROM:<second@b.test>", "250")
	theirs.say("DATA", "354") // with the first one's recipient
	if len(b.from) != 2 {
		t.Errorf("plain: %q", b.from)
	}
	ours.say("MAIL FROM:<second@b.test>", "503 5.5.1 ")
	ours.say("DATA", "354")
}

// TestTrapInputAfterClose: with no ReadTimeout the library runs what was pipelined behind QUIT into a nil
// Session.
func TestTrapInputAfterClose(t *testing.T) {
	st := &store{}
	_, addr := start(t, testOptions(st), Listen{})
	for range 20 {
		c := dial(t, addr)
		io.WriteString(c,
			"EHLO x\r\nQUIT\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n")
		got, _ := io.ReadAll(c)
		if bytes.Contains(got, []byte("421")) || !bytes.HasSuffix(got, []byte("221 2.0.0 Bye\r\n")) {
			t.Errorf("%q", got)
		}
	}
	if len(st.messages()) != 0 {
		t.Error("stored")
	}
}

// TestTrapOAUTHBEARERPanics: go-sasl's server panics on an empty second response; it is not offered.
func TestTrapOAUTHBEARERPanics(t *testing.T) {
	o := testOptions(&store{})
	o.Access.Users, o.Access.AuthInClear = testUsers(t, "a", "b"), true
	_, addr := start(t, o, Listen{})
	c := dial(t, addr)
	c.want("220")
	if got := c.say("EHLO x", "250"); !strings.Contains(got, "AUTH PLAIN LOGIN") ||
		strings.Contains(got, "OAUTH") {
		t.Errorf("%q", got)
	}
	c.say("AUTH OAUTHBEARER", "504 5.5.4 ")
}

func TestTrapNoConnectionLimit(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.Connections, o.Limits.ClientConns = 3, 2
	_, addr := start(t, o, Listen{})
	a, b := hello(t, addr), hello(t, addr)
	c := dial(t, addr)
	c.want("421 4.7.0 Too many connections from 127.0.0.1 (smtpd.max_connections_per_client = 2), ")
	c.want("")
	a.say("QUIT", "221")
	a.want("")
	b.say("NOOP", "250")
	smtptest.WaitFor(t, "room for a connection", func() bool {
		d := dial(t, addr)
		return strings.HasPrefix(d.reply(), "220")
	})

	o.Limits.Connections, o.Limits.ClientConns = 1, 0
	_, addr = start(t, o, Listen{})
	hello(t, addr)
	e := dial(t, addr)
	e.want("421 4.7.0 Too many connections (smtpd.max_connections = ")
	e.want("")
}

func TestTrapMessagesUnlimited(t *testing.T) {
	o := testOptions(&store{})
	o.Limits.Messages = 2
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.mail("x\r\n", "250")
	c.mail("x\r\n", "250")
	c.say("MAIL FROM:<a@b.test>", "421 4.7.0 ")
	c.want("")
}

func TestTrapQueueIDIn250(t *testing.T) {
	theirs, ours, _, st := both(t)
	theirs.mail("x\r\n", "250 2.0.0 OK: queued")
	got := ours.mail("x\r\n", "250 2.0.0 Ok: queued as ")
	if id := st.messages()[0].m.ID; !strings.HasSuffix(got, " as "+id) {
		t.Errorf("%q, stored as %q", got, id)
	}
}

// TestTrapLFOnlyClient: such a client waits for a reply that never comes. Refused content is answered at
// its first line, and logged with the remedy.
func TestTrapLFOnlyClient(t *testing.T) {
	theirs := hello(t, plain(t, &plainBackend{},
		func(s *smtp.Server) { s.ReadTimeout = 300 * time.Millisecond }))
	theirs.toData()
	began := time.Now()
	io.WriteString(theirs, "Subject: x\n\nbody\n.\n")
	theirs.want("554 5.0.0 Error: transaction failed: read tcp")
	if time.Since(began) < 250*time.Millisecond {
		t.Error("plain: answered before the time-out")
	}
	var logged smtptest.Buffer
	o := testOptions(&store{})
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	_, addr := start(t, o, Listen{})
	ours := hello(t, addr)
	ours.toData()
	io.WriteString(ours, "Subject: x\n\nbody\n.\n")
	ours.want("554 5.6.0 Bare LF in content")
	ours.want("")
	ours.Close()
	smtptest.WaitFor(t, "the warning",
		func() bool { return strings.Contains(logged.String(), "ends its lines with LF only") })
}

// TestRefusedAtOnce: a client that ends its content with a dot and LF alone hears why that is refused
// without sending more.
func TestRefusedAtOnce(t *testing.T) {
	_, addr := start(t, testOptions(&store{}), Listen{})
	for _, end := range []string{"\r\n.\n", "\n.\n", "\r\n.x\n", "\n"} {
		c := hello(t, addr)
		c.toData()
		io.WriteString(c, "Subject: x\r\n\r\nbody"+end)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		c.want("554 5.6.0 Bare LF in content")
		c.want("")
		c.Close()
	}
}

// TestTodayLFOnlyClientWaitsWhenNormalized shows what is not cured: where bare newlines are let through,
// LF.LF still does not end the content, since taking it for the end is what SMTP smuggling lives from. The
// client waits until the time-out; the log says why.
func TestTodayLFOnlyClientWaitsWhenNormalized(t *testing.T) {
	var logged smtptest.Buffer
	st := &store{}
	o := testOptions(st)
	o.NormalizeNewlines = true
	o.Limits.DataTimeout = 100 * time.Millisecond
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.toData()
	io.WriteString(c, "Subject: x\n\nbody\n.\n")
	c.want("421 4.4.2 ")
	c.want("")
	c.Close()
	smtptest.WaitFor(t, "the warning",
		func() bool { return strings.Contains(logged.String(), "ends its lines with LF only") })
	if len(st.messages()) != 0 {
		t.Error("stored")
	}
}

// TestTodayPanicReply shows what is not cured: a panic of ours is answered in the library's words.
func TestTodayPanicReply(t *testing.T) {
	st := &store{}
	o := testOptions(st)
	o.Accept = func(context.Context, *relay.Message, io.Reader) error { panic("test") }
	_, addr := start(t, o, Listen{})
	c := hello(t, addr)
	c.mail("x\r\n", "421 4.0.0 Internal server error")
	c.want("")
}
