package mailbox

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imaptest"
)

const (
	testUser     = "bounces@shop.test"
	testPassword = "correct-horse-battery"
	testToken    = "ya29.token-of-a-test"
)

// bounceMail is a mail that the tests' Take calls feedback.
func bounceMail(n int) string {
	return fmt.Sprintf("From: MAILER-DAEMON@x.test\r\nSubject: bounce %d\r\n\r\nno such user\r\n", n)
}

// personMail is one that it leaves alone.
func personMail(n int) string {
	return fmt.Sprintf("From: ann@x.test\r\nSubject: question %d\r\n\r\nwhen will it come?\r\n", n)
}

// inbox is a Take that remembers what it was given.
type inbox struct {
	mu    sync.Mutex
	mails []string
	fail  error
	hang  bool // until the context is done
}

func (i *inbox) take(ctx context.Context, mail []byte) (Verdict, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.hang {
		<-ctx.Done()
		return Personal, ctx.Err()
	}
	if i.fail != nil {
		return Personal, i.fail
	}
	i.mails = append(i.mails, string(mail))
	if strings.Contains(string(mail), "bounce") {
		return Feedback, nil
	}
	return Personal, nil
}

func (i *inbox) set(fail error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// subjects are those of the mails that were taken, in order.
func (i *inbox) subjects() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var s []string
	for _, m := range i.mails {
		_, rest, _ := strings.Cut(m, "Subject: ")
		subject, _, _ := strings.Cut(rest, "\r\n")
		s = append(s, subject)
	}
	return s
}

// waitFor waits until these were taken and no others.
func (i *inbox) waitFor(t *testing.T, subjects ...string) {
	t.Helper()
	smtptest.WaitFor(t, fmt.Sprint(subjects), func() bool { return len(i.subjects()) >= len(subjects) })
	if got := i.subjects(); !slices.Equal(got, subjects) {
		t.Fatalf("taken: %q, want %q", got, subjects)
	}
}

// world is a server, a mailbox that reads it, and what it took.
type world struct {
	t      *testing.T
	server *imaptest.Server
	inbox  *inbox
	log    *smtptest.Buffer
	o      IMAPOptions
}

func newWorld(t *testing.T, so imaptest.Options) *world {
	if so.Username == "" {
		so.Username, so.Password = testUser, testPassword
	}
	w := &world{t: t, server: imaptest.New(t, so), inbox: &inbox{}, log: &smtptest.Buffer{}}
	w.o = IMAPOptions{
		Host: "127.0.0.1", Port: w.server.Port(), Username: testUser, Password: testPassword,
		Folder: "INBOX", After: After{Action: Leave}, StateFile: filepath.Join(t.TempDir(), "state"),
		MaxSize: 1 << 20, Poll: time.Hour, Renew: 20 * time.Minute, Timeout: 10 * time.Second,
		Backoff: 10 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, Take: w.inbox.take,
		Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: time.Now,
	}
	return w
}

// run reads the mailbox until the returned function is called, or the test ends.
func (w *world) run() (stop func()) {
	w.t.Helper()
	b, err := NewIMAP(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) append(folder string, mails ...string) {
	w.t.Helper()
	for _, m := range mails {
		if err := w.server.Append(folder, m); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) mails(folder string) []imaptest.Mail {
	w.t.Helper()
	m, err := w.server.Mails(folder)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) waitIdle() {
	w.t.Helper()
	smtptest.WaitFor(w.t, "IDLE", func() bool { return w.server.Idling() == 1 })
}

// via has the mailbox connect through a proxy.
func (w *world) via() *smtptest.Proxy {
	p := smtptest.NewProxy(w.t, w.server.Addr())
	_, port, _ := net.SplitHostPort(p.Addr())
	fmt.Sscan(port, &w.o.Port)
	return p
}

func TestTLS(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, id.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []tlsconf.Mode{tlsconf.None, tlsconf.StartTLS, tlsconf.Implicit} {
		so := imaptest.Options{Implicit: mode == tlsconf.Implicit}
		if mode != tlsconf.None {
			so.TLS = id.Server()
		}
		w := newWorld(t, so)
		w.o.TLS = TLS{Mode: mode, CAFile: ca, MinVersion: tls.VersionTLS12}
		w.append("INBOX", bounceMail(1))
		stop := w.run()
		w.inbox.waitFor(t, "bounce 1")
		stop()

		if mode == tlsconf.None {
			continue
		}
		stranger := newWorld(t, so) // whose certificate is of an authority that nobody trusts here
		stranger.o.TLS = TLS{Mode: mode, MinVersion: tls.VersionTLS12}
		stranger.run()
		smtptest.WaitFor(t, "the failed handshake", func() bool {
			return strings.Contains(stranger.log.String(), "certificate signed by unknown authority")
		})
		if stranger.server.Logins() != 0 {
			t.Errorf("%s: the password was sent to a stranger", mode)
		}
	}
}

// TestStartTLSRequired: a server, or someone in between, that offers no TLS gets no password.
func TestStartTLSRequired(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.TLS = TLS{Mode: tlsconf.StartTLS, MinVersion: tls.VersionTLS12}
	w.run()
	smtptest.WaitFor(t, "the log", func() bool {
		return strings.Contains(w.log.String(), "cannot be read now")
	})
	if w.server.Logins() != 0 {
		t.Error("the password was sent in clear")
	}
}

// TestAfter: what was taken gets its treatment, what a person wrote stays as it was.
func TestAfter(t *testing.T) {
	plain := []imap.Cap{imap.CapMove, imap.CapUIDPlus}
	for _, c := range []struct {
		after       string
		without     []imap.Cap
		bounceFlags []imap.Flag // of the bounce in INBOX; it is gone where gone is set
		gone        bool
		moved       bool
	}{
		{after: "leave"},
		{after: "seen", bounceFlags: []imap.Flag{imap.FlagSeen}},
		{after: "delete", gone: true},
		{after: "delete", without: plain, bounceFlags: []imap.Flag{imap.FlagDeleted}},
		{after: "move:Bounces/Old", gone: true, moved: true},
		{after: "move:Bounces/Old", without: plain[:1], gone: true, moved: true},
		{after: "move:Bounces/Old", without: plain, bounceFlags: []imap.Flag{imap.FlagDeleted}, moved: true},
	} {
		t.Run(fmt.Sprint(c.after, c.without), func(t *testing.T) {
			w := newWorld(t, imaptest.Options{Without: c.without})
			var err error
			if w.o.After, err = ParseAfter(c.after); err != nil {
				t.Fatal(err)
			}
			// A person's mail that its reader has marked as deleted must not go with the bounces.
			if err := w.server.Append("INBOX", personMail(1), imap.FlagDeleted); err != nil {
				t.Fatal(err)
			}
			if err := w.server.Append("INBOX", personMail(2), imap.FlagFlagged); err != nil {
				t.Fatal(err)
			}
			w.append("INBOX", personMail(3), bounceMail(1), personMail(4))
			stop := w.run()
			w.inbox.waitFor(t, "question 1", "question 2", "question 3", "bounce 1", "question 4")
			w.waitIdle()
			stop()

			want := []string{
				personMail(1) + "[\\deleted]", personMail(2) + "[\\flagged]", personMail(3) + "[]",
			}
			if !c.gone {
				want = append(want, bounceMail(1)+fmt.Sprint(lower(c.bounceFlags)))
			}
			want = append(want, personMail(4)+"[]")
			var got []string
			for _, m := range w.mails("INBOX") {
				got = append(got, m.Content+fmt.Sprint(lower(m.Flags)))
			}
			if !slices.Equal(got, want) {
				t.Errorf("INBOX:\n%q\nwant\n%q", got, want)
			}
			if !c.moved {
				return
			}
			if m := w.mails("Bounces/Old"); len(m) != 1 || m[0].Content != bounceMail(1) {
				t.Errorf("moved: %v", m)
			}
		})
	}
}

func lower(flags []imap.Flag) []string {
	s := []string{}
	for _, f := range flags {
		s = append(s, strings.ToLower(string(f)))
	}
	return s
}

// TestIdle: new mail is read as soon as it is there, though the next look would be in an hour.
func TestIdle(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.run()
	for n := range 3 {
		w.waitIdle()
		w.append("INBOX", bounceMail(n))
		smtptest.WaitFor(t, "the bounce", func() bool { return len(w.inbox.subjects()) == n+1 })
	}
	w.waitIdle()
	w.inbox.waitFor(t, "bounce 0", "bounce 1", "bounce 2")
}

// TestIdleRenewed: an IDLE ends in time, and a search finds what the server did not tell of.
func TestIdleRenewed(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.Renew = time.Millisecond
	w.run()
	for n := range 3 {
		w.append("INBOX", bounceMail(n))
		smtptest.WaitFor(t, "the bounce", func() bool { return len(w.inbox.subjects()) == n+1 })
	}
	if w.server.Logins() != 1 {
		t.Errorf("%d logins for one connection", w.server.Logins())
	}
}

func TestPolling(t *testing.T) {
	w := newWorld(t, imaptest.Options{Without: []imap.Cap{imap.CapIdle}})
	w.o.Poll = 5 * time.Millisecond
	w.run()
	for n := range 3 {
		w.append("INBOX", bounceMail(n))
		smtptest.WaitFor(t, "the bounce", func() bool { return len(w.inbox.subjects()) == n+1 })
	}
	if w.server.Idling() != 0 || w.server.Logins() != 1 {
		t.Errorf("%d idling, %d logins", w.server.Idling(), w.server.Logins())
	}
}

// TestRestart: what was dealt with is not read again, what came meanwhile is.
func TestRestart(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.append("INBOX", bounceMail(1), personMail(1))
	stop := w.run()
	w.inbox.waitFor(t, "bounce 1", "question 1")
	w.waitIdle()
	stop()
	w.append("INBOX", bounceMail(2))
	stop = w.run()
	w.inbox.waitFor(t, "bounce 1", "question 1", "bounce 2")
	w.waitIdle()
	stop()
	if info, err := os.Stat(w.o.StateFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", info, err)
	}
	if strings.Contains(w.log.String(), "WARN") {
		t.Errorf("log:\n%s", w.log)
	}

	if err := os.WriteFile(w.o.StateFile, []byte("{"), 0o600); err != nil { // a damaged one reads as none
		t.Fatal(err)
	}
	w.run()
	w.inbox.waitFor(t, "bounce 1", "question 1", "bounce 2", "bounce 1", "question 1", "bounce 2")
	if !strings.Contains(w.log.String(), "reading it from its start") {
		t.Errorf("log:\n%s", w.log)
	}
}

// TestRenumbered: with another UIDVALIDITY all is read again, since no UID means what it meant.
func TestRenumbered(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	p := w.via()
	w.append("INBOX", bounceMail(1), bounceMail(2))
	w.run()
	w.inbox.waitFor(t, "bounce 1", "bounce 2")
	w.waitIdle()
	if err := w.server.Renumber("INBOX"); err != nil {
		t.Fatal(err)
	}
	p.End(smtptest.EndReset)
	w.inbox.waitFor(t, "bounce 1", "bounce 2", "bounce 1", "bounce 2")
	w.waitIdle()
	w.append("INBOX", bounceMail(3))
	w.inbox.waitFor(t, "bounce 1", "bounce 2", "bounce 1", "bounce 2", "bounce 3")
	if !strings.Contains(w.log.String(), "numbered the mailbox anew") {
		t.Errorf("log:\n%s", w.log)
	}
}

// TestCut ends the connection at every 40th byte of the server's side: no mail is lost, none is taken by
// half, and what a person wrote stays as it was.
func TestCut(t *testing.T) {
	const step, cuts = 40, 60
	w := newWorld(t, imaptest.Options{})
	p := w.via()
	p.DamageEach(func(n int) (toServer, toClient smtptest.Faults) {
		if n <= cuts {
			toClient.Cut = &smtptest.Cut{After: int64(n * step), End: smtptest.EndReset}
		}
		return toServer, toClient
	})
	w.o.Backoff, w.o.MaxBackoff = time.Millisecond, time.Millisecond
	w.o.After = After{Action: Delete}
	w.append("INBOX", personMail(1), bounceMail(1), bounceMail(2), personMail(2), bounceMail(3))
	w.run()
	smtptest.WaitFor(t, "all mail", func() bool {
		return len(w.mails("INBOX")) == 2 && w.server.Idling() > 0
	})
	taken := w.inbox.subjects()
	for _, want := range []string{"question 1", "bounce 1", "bounce 2", "question 2", "bounce 3"} {
		if !slices.Contains(taken, want) {
			t.Errorf("%s was not taken", want)
		}
	}
	for _, m := range w.inbox.mails {
		if !strings.HasSuffix(m, "no such user\r\n") && !strings.HasSuffix(m, "when will it come?\r\n") {
			t.Errorf("taken by half: %q", m)
		}
	}
	for i, m := range w.mails("INBOX") {
		if m.Content != personMail(i+1) || len(m.Flags) != 0 {
			t.Errorf("a person's mail: %v", m)
		}
	}
}

// TestSilentServer: whatever the server leaves out, the connection ends in time, and is made anew.
func TestSilentServer(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	p := w.via()
	p.DamageEach(func(n int) (toServer, toClient smtptest.Faults) {
		if n <= 12 {
			toClient.Cut = &smtptest.Cut{After: int64((n - 1) * 100), End: smtptest.EndStall}
		}
		return toServer, toClient
	})
	w.o.Timeout, w.o.Renew = 150*time.Millisecond, 20*time.Millisecond
	w.append("INBOX", bounceMail(1))
	w.run()
	smtptest.WaitFor(t, "the bounce", func() bool { return len(w.inbox.subjects()) > 0 })
	if !strings.Contains(w.log.String(), "did not answer within 150ms") {
		t.Errorf("log:\n%s", w.log)
	}
}

// TestWrongPassword: it is told once, with the way out, and tried slowly; the password is in no log, even if
// the server repeats it.
func TestWrongPassword(t *testing.T) {
	w := newWorld(t, imaptest.Options{Says: func(p string) string { return "not your password: " + p }})
	w.o.Password = "wrong-horse-battery"
	w.o.MaxBackoff = 20 * time.Millisecond
	stop := w.run()
	smtptest.WaitFor(t, "four logins", func() bool { return w.server.Logins() >= 4 })
	stop()
	log := w.log.String()
	if strings.Count(log, "level=") != 1 || !strings.Contains(log, "level=ERROR") ||
		!strings.Contains(log, "app password") || !strings.Contains(log, "OAuth") ||
		!strings.Contains(log, "next_try=20ms") {
		t.Errorf("log:\n%s", log)
	}
	if !strings.Contains(log, "not your password: [hidden]") || strings.Contains(log, "wrong-horse") {
		t.Errorf("the password is in the log:\n%s", log)
	}
}

// TestRefusedSlowly: the wait after a refusal is the longest one, from the first.
func TestRefusedSlowly(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.Password, w.o.MaxBackoff = "wrong-horse-battery", time.Hour
	stop := w.run()
	smtptest.WaitFor(t, "the log", func() bool { return strings.Contains(w.log.String(), "next_try=1h") })
	stop()
	if n := w.server.Logins(); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// TestOAuth: either mechanism, and a token that has been replaced.
func TestOAuth(t *testing.T) {
	id := smtptest.NewCertificate(t, "127.0.0.1")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, id.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
		w := newWorld(t, imaptest.Options{Username: testUser, Token: testToken, Mechanism: mechanism,
			TLS: id.Server(), Implicit: true})
		w.o.TLS = TLS{Mode: tlsconf.Implicit, CAFile: ca, MinVersion: tls.VersionTLS12}
		w.o.Password = ""
		w.o.Token = func(_ context.Context, refused string) (string, error) {
			if refused == "old-token" {
				return testToken, nil
			}
			return "old-token", nil
		}
		w.append("INBOX", bounceMail(1))
		stop := w.run()
		w.inbox.waitFor(t, "bounce 1")
		stop()
		if log := w.log.String(); log != "" || w.server.Logins() != 2 {
			t.Errorf("%s: %d logins, log:\n%s", mechanism, w.server.Logins(), log)
		}

		w.o.Token = func(context.Context, string) (string, error) { return "worthless-token", nil }
		stop = w.run()
		smtptest.WaitFor(t, "the log", func() bool { return strings.Contains(w.log.String(), "ERROR") })
		stop()
		log := w.log.String()
		if !strings.Contains(log, "scope") || strings.Contains(log, "worthless-token") {
			t.Errorf("%s: log:\n%s", mechanism, log)
		}

		none := errors.New("no token today")
		w.o.Token = func(context.Context, string) (string, error) { return "", none }
		stop = w.run()
		smtptest.WaitFor(t, "the log", func() bool {
			return strings.Contains(w.log.String(), "no token today")
		})
		stop()
	}
}

// TestIdentifies: a server that wants to know who we are is told before a folder is opened.
func TestIdentifies(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	said := make(chan string, 10)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1 ID] ready\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			tag, command, _ := strings.Cut(lines.Text(), " ")
			said <- command
			switch verb, _, _ := strings.Cut(command, " "); verb {
			case "LOGIN":
				fmt.Fprintf(conn, "%s OK [CAPABILITY IMAP4rev1 ID] done\r\n", tag)
			case "ID":
				fmt.Fprintf(conn, "* ID (\"name\" \"test\")\r\n%s OK done\r\n", tag)
			default:
				fmt.Fprintf(conn, "%s NO enough\r\n", tag)
			}
		}
	}()
	w := newWorld(t, imaptest.Options{})
	w.o.Port, w.o.Backoff, w.o.MaxBackoff = ln.Addr().(*net.TCPAddr).Port, time.Hour, time.Hour
	w.run()
	for _, want := range []string{"LOGIN ", `ID ("name" "mailwhy"`, "EXAMINE "} {
		if got := <-said; !strings.HasPrefix(got, want) {
			t.Errorf("said %q, want %s", got, want)
		}
	}
}

// TestTakeFails: nothing is done to a mail that could not be taken, and no later one is read before it.
func TestTakeFails(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.After = After{Action: Delete}
	w.inbox.set(errors.New("no space left on device"))
	w.append("INBOX", bounceMail(1), bounceMail(2))
	w.run()
	smtptest.WaitFor(t, "three tries", func() bool { return w.server.Logins() >= 3 })
	if n := strings.Count(w.log.String(), "no space left on device"); n != 1 {
		t.Errorf("told %d times:\n%s", n, w.log)
	}
	if m := w.mails("INBOX"); len(m) != 2 {
		t.Fatalf("INBOX: %v", m)
	}
	w.inbox.set(nil)
	w.inbox.waitFor(t, "bounce 1", "bounce 2")
	smtptest.WaitFor(t, "the end", func() bool { return len(w.mails("INBOX")) == 0 })
	smtptest.WaitFor(t, "the log", func() bool {
		return strings.Contains(w.log.String(), "the mailbox is read again")
	})
}

// TestLargeMail: no more than MaxSize is read, and the next mail is well.
func TestLargeMail(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.MaxSize = 1000
	w.append("INBOX", bounceMail(1)+strings.Repeat("x", 100_000), bounceMail(2))
	w.run()
	w.inbox.waitFor(t, "bounce 1", "bounce 2")
	if n := len(w.inbox.mails[0]); n != 1000 {
		t.Errorf("%d bytes", n)
	}
}

// TestLookback: a folder that is new to us is not read from the beginning of time.
func TestLookback(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	w.o.Lookback = 14 * 24 * time.Hour
	w.o.Now = func() time.Time { return time.Now().Add(16 * 24 * time.Hour) }
	w.append("INBOX", bounceMail(1))
	stop := w.run()
	w.waitIdle()
	stop()
	w.inbox.waitFor(t)
	w.o.Now = time.Now
	w.run()
	w.inbox.waitFor(t, "bounce 1")
}

// TestEndsAtOnce: in each of the places where it waits.
func TestEndsAtOnce(t *testing.T) {
	within := func(stop func()) {
		t.Helper()
		begin := time.Now()
		if stop(); time.Since(begin) > 5*time.Second {
			t.Errorf("it ended after %v", time.Since(begin))
		}
	}
	idle := newWorld(t, imaptest.Options{})
	stop := idle.run()
	idle.waitIdle()
	within(stop)

	poll := newWorld(t, imaptest.Options{Without: []imap.Cap{imap.CapIdle}})
	poll.append("INBOX", bounceMail(1))
	stop = poll.run()
	poll.inbox.waitFor(t, "bounce 1")
	within(stop)

	taking := newWorld(t, imaptest.Options{})
	taking.inbox.hang = true
	taking.append("INBOX", bounceMail(1))
	stop = taking.run()
	smtptest.WaitFor(t, "the login", func() bool { return taking.server.Logins() == 1 })
	within(stop)

	refused := newWorld(t, imaptest.Options{})
	refused.o.Password, refused.o.MaxBackoff = "wrong", time.Hour
	stop = refused.run()
	smtptest.WaitFor(t, "the log", func() bool { return refused.log.String() != "" })
	within(stop)

	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	silent := newWorld(t, imaptest.Options{})
	silent.o.Port, silent.o.Timeout = mute.Addr().(*net.TCPAddr).Port, time.Hour
	stop = silent.run()
	conn, err := mute.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	within(stop)
}

func TestIMAPMistakes(t *testing.T) {
	w := newWorld(t, imaptest.Options{})
	for _, c := range []struct {
		change func(*IMAPOptions)
		want   string
	}{
		{func(o *IMAPOptions) { o.Host = "imap.example" }, "only to a server on this machine"},
		{func(o *IMAPOptions) { o.Folder = "" }, "folder are needed"},
		{func(o *IMAPOptions) { o.Password = "" }, "either a password or OAuth"},
		{func(o *IMAPOptions) { o.TLS.Mode, o.TLS.MinVersion = tlsconf.Opportunistic, 1 }, "opportunistic"},
		{func(o *IMAPOptions) { o.TLS.Mode = tlsconf.Implicit }, "lowest TLS version"},
		{func(o *IMAPOptions) { o.Renew = 29 * time.Minute }, "29 minutes"},
		{func(o *IMAPOptions) { o.Username = "a\x01b" }, "controls"},
	} {
		o := w.o
		c.change(&o)
		if _, err := NewIMAP(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for s, want := range map[string]After{
		"leave": {Action: Leave}, "seen": {Action: Seen}, "delete": {Action: Delete},
		"move:A b": {Move, "A b"}, "move:": {}, "move": {}, "": {}, "move:a\r\nb": {}, "Seen": {},
	} {
		if got, err := ParseAfter(s); got != want || (err == nil) != (want != After{}) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}
