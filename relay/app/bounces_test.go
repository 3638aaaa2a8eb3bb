package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
)

// office is a relay whose upstream refuses later, by mail to a listener for bounces.
type office struct {
	t        *testing.T
	app      *Relay
	upstream *smtptest.Server
	log      *smtptest.Buffer // the delivery log
	logged   *smtptest.Buffer // the operational log
}

// newOffice starts one; more are further lines of the configuration, of [feedback.return_path] first.
func newOffice(t *testing.T, more string) *office {
	t.Helper()
	o := &office{t: t, upstream: smtptest.New(t, smtptest.Options{}), log: &smtptest.Buffer{},
		logged: &smtptest.Buffer{}}
	dir := t.TempDir()
	key := filepath.Join(dir, "return.key")
	if err := os.WriteFile(key, []byte("a key of the test, 32 bytes long\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "relay.toml")
	conf := fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[dsn]\ncollect = \"0s\"\n"+
		"[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.2:0\"\nrole = \"bounces\"\n"+
		"[upstream.office]\nhost = \"127.0.0.1\"\nport = %d\ntls = \"none\"\n"+
		"[feedback.return_path]\naddress = \"b@bounces.test\"\nupstreams = [\"office\"]\nkey_file = %q\n%s",
		filepath.Join(dir, "spool"), o.upstream.Port(), key, more)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	o.app, err = New(Options{Config: cfg, Engine: embedded(), Stdout: o.log,
		Log: slog.New(slog.NewTextHandler(o.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { o.app.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return o
}

// mail sends a mail to listener n of the relay; its error is that of the first command that was refused.
func (o *office) mail(n int, from string, to []string, content string) error {
	o.t.Helper()
	c, err := smtptest.Greet(o.t.Context(), o.app.Addrs()[n].String(), "mx.x.test", smtptest.ClientOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	err = c.Command("MAIL FROM:<%s>", from)
	for _, address := range to {
		if err == nil {
			err = c.Command("RCPT TO:<%s>", address)
		}
	}
	if err != nil {
		return err
	}
	c.Say("DATA")
	if err := c.Expect(3); err != nil {
		return err
	}
	return c.Command("%s\r\n.", strings.TrimSuffix(content, "\r\n"))
}

// send sends a mail through the relay, and returns the mails that the upstream has of it, by recipients.
func (o *office) send(to ...string) (relayed []smtptest.Message) {
	o.t.Helper()
	content := "From: app@shop.test\r\nTo: " + to[0] + "\r\nSubject: hello\r\n\r\nhello\r\n"
	if err := o.mail(0, "app@shop.test", to, content); err != nil {
		o.t.Fatal(err)
	}
	smtptest.WaitFor(o.t, "the mail at the upstream", func() bool {
		n := 0
		relayed = o.upstream.Messages()
		for _, m := range relayed {
			n += len(m.To)
		}
		return n == len(to)
	})
	return relayed
}

// bounceOf is what Postfix writes of a mail that it had for the recipient.
func bounceOf(m *smtptest.Message, recipient string) string {
	header, _, _ := strings.Cut(string(m.Content), "\r\n\r\n")
	envelope := ""
	for p := range strings.FieldsSeq(m.FromParams) {
		if id, ok := strings.CutPrefix(p, "ENVID="); ok {
			envelope = "Original-Envelope-Id: " + id + "\r\n"
		}
	}
	return "From: MAILER-DAEMON@mx.x.test (Mail Delivery System)\r\nTo: " + m.From + "\r\n" +
		"Subject: Undelivered Mail Returned to Sender\r\nMessage-ID: <1." + recipient + ".mx>\r\n" +
		"Date: Sun, 29 Nov 2026 10:01:02 +0000\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"B\"\r\n\r\n" +
		"--B\r\nContent-Type: text/plain\r\n\r\nI'm sorry to have to inform you.\r\n\r\n" +
		"--B\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.x.test\r\n" + envelope +
		"\r\nFinal-Recipient: rfc822; " + recipient + "\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
		"Remote-MTA: dns; mail.x.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user here\r\n\r\n" +
		"--B\r\nContent-Type: text/rfc822-headers\r\n\r\n" + header + "\r\n\r\n--B--\r\n"
}

// bounced are the lines of the delivery log about a recipient whose mail bounced.
func (o *office) bounced(to string) (list []record.Event) {
	o.t.Helper()
	o.app.FlushLog()
	for line := range strings.Lines(o.log.String()) {
		e, err := record.Parse([]byte(line))
		if err != nil {
			o.t.Fatalf("%v in %q", err, line)
		}
		if e.Kind == relay.EventBounced && e.To == to {
			list = append(list, e)
		}
	}
	return list
}

// settled waits until all reports have had their effect, and returns the notices that the sender got.
func (o *office) settled(want int) (notices []string) {
	o.t.Helper()
	smtptest.WaitFor(o.t, "all reports to have their effect", func() bool {
		return o.app.feedback.store.Stat().Waiting == 0
	})
	smtptest.WaitFor(o.t, "the notices; the operator's log says\n"+o.logged.String(), func() bool {
		notices = nil
		for _, m := range o.upstream.Messages() {
			if m.From == "" {
				notices = append(notices, string(m.Content))
			}
		}
		return len(notices) >= want
	})
	return notices
}

// TestBounceMail is the whole way: a mail goes out with a return path and an envelope id of ours, the bounce
// comes to the listener, the log says why it bounced and what to do, and the sender gets one notice, also
// when the bounce comes again.
func TestBounceMail(t *testing.T) {
	for _, more := range []string{"", "per_recipient = true\n"} {
		t.Run(more, func(t *testing.T) {
			o := newOffice(t, more)
			m := &o.send("bob@x.test")[0]
			if !strings.HasPrefix(m.From, "b+") || !strings.HasSuffix(m.From, "@bounces.test") ||
				!strings.Contains(m.FromParams, "ENVID=") {
				t.Fatalf("relayed with MAIL FROM:<%s> %s", m.From, m.FromParams)
			}
			bounce := bounceOf(m, "bob@x.test")
			for _, content := range []string{bounce, "Received: from elsewhere\r\n" + bounce, bounce} {
				if err := o.mail(1, "", []string{m.From}, content); err != nil {
					t.Fatal(err)
				}
			}
			notices := o.settled(1)
			lines := o.bounced("bob@x.test")
			if len(notices) != 1 || len(lines) != 1 {
				t.Fatalf("%d notices, %d lines\n%s", len(notices), len(lines), o.logged)
			}
			e := lines[0]
			if e.Trust != relay.TrustProven || e.MatchedBy != "return_path" ||
				e.Reply != "550 5.1.1 No such user here" || e.Diagnosis == nil ||
				e.Diagnosis.Reason != "user_unknown" || e.From != "app@shop.test" {
				t.Errorf("logged %+v", e)
			}
			for _, want := range []string{"To: <app@shop.test>", "X-Mailwhy-Reason: user_unknown",
				"Diagnostic-Code: smtp; 550 5.1.1 No such user here"} {
				if !strings.Contains(notices[0], want) {
					t.Errorf("the notice has no %q:\n%s", want, notices[0])
				}
			}
		})
	}
}

// TestForgedBounce: with one return path for all recipients each can report another one, which is likely and
// no more; so it is with one for each. Who knows no return path cannot report at all.
func TestForgedBounce(t *testing.T) {
	for _, more := range []string{"", "per_recipient = true\n"} {
		o := newOffice(t, more)
		m := &o.send("bob@x.test", "eve@x.test")[0]
		forged := bounceOf(m, "eve@x.test")
		if err := o.mail(1, "", []string{"b@bounces.test"}, forged); !errors.Is(err, smtptest.ErrRefused) ||
			!strings.Contains(err.Error(), "550 5.1.1") {
			t.Errorf("without a return path: %v", err)
		}
		if err := o.mail(1, "", []string{m.From}, forged); err != nil {
			t.Fatal(err)
		}
		o.settled(1)
		if lines := o.bounced("eve@x.test"); len(lines) != 1 || lines[0].Trust != relay.TrustLikely {
			t.Errorf("%q: %+v", more, lines)
		}
	}
}

// TestAnswerToReturnPath: what a person writes to a return path goes back to the person, and what a program
// answers has no effect.
func TestAnswerToReturnPath(t *testing.T) {
	o := newOffice(t, "")
	m := &o.send("bob@x.test")[0]
	err := o.mail(1, "bob@x.test", []string{m.From},
		"From: bob@x.test\r\nSubject: Re: hello\r\n\r\nThanks!\r\n")
	if !errors.Is(err, smtptest.ErrRefused) || !strings.Contains(err.Error(), "550 5.7.1") {
		t.Errorf("a person's answer: %v", err)
	}
	if err := o.mail(1, "", []string{m.From}, "From: bob@x.test\r\nSubject: Out of office\r\n"+
		"Auto-Submitted: auto-replied\r\n\r\nI am away.\r\n"); err != nil {
		t.Errorf("an automatic answer: %v", err)
	}
	if n := len(o.settled(0)); n != 0 || len(o.bounced("bob@x.test")) != 0 {
		t.Errorf("%d notices", n)
	}
}
