package app

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/dnsclient"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/dnstest"
	"mailwhy/relay/smtptest/events"
	"mailwhy/relay/smtptest/imaptest"
)

// bounceScene is a scene with a listener for bounce mail and return paths of the relay's own.
func bounceScene(t *testing.T, more string) *scene {
	t.Helper()
	s := newScene(t, "postmark", "")
	s.stop()
	s.conf = strings.Replace(s.conf, "[feedback]\n",
		"[[listen]]\naddress = \"localhost:0\"\nrole = \"bounces\"\n[feedback]\n", 1) +
		"[feedback.return_path]\naddress = \"b@bounces.test\"\nupstreams = [\"default\"]\n" + more
	s.start()
	return s
}

// deliver hands a mail to the listener for bounce mail, and returns the last reply.
func (s *scene) deliver(from, to, content string) string {
	s.t.Helper()
	return s.offer(1, from, content, to)
}

// TestBounceListener: a bounce to a return path comes to the application's sender with category and fix,
// once, though the provider tells of it too; other mail is refused.
func TestBounceListener(t *testing.T) {
	s := bounceScene(t, "")
	m := s.send("joe@x.test")
	path := m.From
	if !strings.HasPrefix(path, "b+") || !strings.HasSuffix(path, "@bounces.test") {
		t.Fatalf("the mail has the sender %q", path)
	}
	report := bounceMail(path, "joe@x.test", unknown, nil) // nothing comes back but the address
	for _, tt := range []struct{ from, to, content, want string }{
		{"", "b@bounces.test", report, "550 5.1.1 "},
		{"", "b+1" + path[3:], report, "550 5.1.1 "},
		{"", "joe@x.test", report, "550 5.1.1 "},
		{"ann@x.test", path, "From: ann@x.test\r\nSubject: Re: hello\r\n\r\nThank you!\r\n", "550 5.7.1 "},
		{"", path, report, "250 2.0.0 "},
		{"", path, report, "250 2.0.0 "}, // again
	} {
		if got := s.deliver(tt.from, tt.to, tt.content); !strings.HasPrefix(got, tt.want) {
			t.Errorf("from <%s> to <%s>: %s, not %s", tt.from, tt.to, got, tt.want)
		}
	}
	e := s.line(relay.EventBounced, "joe@x.test")
	if e.Source != "dsn" || e.MatchedBy != "return_path" || e.Trust != relay.TrustProven ||
		e.Diagnosis == nil || e.Diagnosis.Reason != "user_unknown" || len(e.Diagnosis.Fix) == 0 {
		t.Errorf("%+v", e)
	}
	s.tell(m, events.Bounced, "joe@x.test", unknown)
	s.settled()
	text := s.bounce()
	if !strings.Contains(text, "To: <app@shop.test>") || !strings.Contains(text, "X-Mailwhy-Fix:") {
		t.Errorf("the bounce is\n%s", text)
	}
	s.stop()
	if n, b := len(s.lines(relay.EventBounced, "joe@x.test")), len(s.bounces()); n != 1 || b != 1 {
		t.Errorf("%d lines and %d bounces, not one each", n, b)
	}
	for _, got := range s.upstream.Messages() {
		if got.From == "" && got.To[0].Address != "app@shop.test" {
			t.Errorf("a bounce went to %s", got.To[0].Address)
		}
	}
}

// TestReturnPathPerRecipient: each recipient's report proves itself, of a message with several.
func TestReturnPathPerRecipient(t *testing.T) {
	s := bounceScene(t, "per_recipient = true\n")
	s.submit("joe@x.test", "ann@x.test")
	paths := map[string]string{}
	smtptest.WaitFor(t, "two transactions", func() bool {
		for _, m := range s.upstream.Messages() {
			if m.From != "" && len(m.To) == 1 {
				paths[m.To[0].Address] = m.From
			}
		}
		return len(paths) == 2
	})
	// The address proves its own recipient, whoever else the report names.
	s.deliver("", paths["joe@x.test"], bounceMail(paths["joe@x.test"], "joe@x.test", unknown, nil))
	if e := s.line(relay.EventBounced, "joe@x.test"); e.Trust != relay.TrustProven {
		t.Errorf("%+v", e)
	}
	s.settled()
	if list := s.lines(relay.EventBounced, "ann@x.test"); len(list) > 0 {
		t.Errorf("the other recipient bounced too: %+v", list)
	}
}

// TestBounceMailbox: a bounce in an IMAP mailbox is explained, a person's reply stays as it was.
func TestBounceMailbox(t *testing.T) {
	server := imaptest.New(t, imaptest.Options{Username: "app@shop.test", Password: "secret"})
	host, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "postmark", "")
	s.stop()
	s.conf += fmt.Sprintf("[[feedback.mailbox]]\nname = \"office\"\nhost = %q\nport = %s\ntls = \"none\"\n"+
		"username = \"app@shop.test\"\npassword = \"secret\"\nafter = \"delete\"\n", host, port)
	s.start()
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	person := "From: ann@x.test\r\nTo: app@shop.test\r\nSubject: Re: hello\r\n\r\nThank you!\r\n"
	for _, mail := range []string{person, bounceMail("app@shop.test", "joe@x.test", unknown, m.Header)} {
		if err := server.Append("INBOX", mail); err != nil {
			t.Fatal(err)
		}
	}
	e := s.line(relay.EventBounced, "joe@x.test")
	if e.Source != "dsn" || e.MatchedBy != "queue_id" || e.Trust != relay.TrustLikely || e.Diagnosis == nil {
		t.Errorf("%+v", e)
	}
	smtptest.WaitFor(t, "the bounce to be deleted", func() bool {
		left, err := server.Mails("INBOX")
		return err == nil && len(left) == 1
	})
	left, err := server.Mails("INBOX")
	if err != nil || len(left) != 1 || !strings.Contains(left[0].Content, "Thank you!") ||
		len(left[0].Flags) != 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
	s.stop()
	if n := len(s.bounces()); n != 0 {
		t.Errorf("%d bounces to somebody who has it already", n)
	}
}

// TestBounceMaildir: the same from a maildir.
func TestBounceMaildir(t *testing.T) {
	s := newScene(t, "postmark", "")
	s.stop()
	dir := filepath.Join(s.dir, "maildir")
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.conf += fmt.Sprintf("[[feedback.mailbox]]\nmaildir = %q\n", dir)
	s.start()
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	tmp := filepath.Join(dir, "tmp", "1.bounce")
	report := bounceMail("app@shop.test", "joe@x.test", unknown, m.Header)
	if err := os.WriteFile(tmp, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", "1.bounce")); err != nil {
		t.Fatal(err)
	}
	if e := s.line(relay.EventBounced, "joe@x.test"); e.Source != "dsn" {
		t.Errorf("%+v", e)
	}
	if _, err := os.Stat(filepath.Join(dir, "new", "1.bounce")); err != nil {
		t.Error(err)
	}
}

// complaint is one by mail (RFC 5965), about a message whose header is returned.
func complaint(recipient string, header []byte) string {
	return "From: <feedback@isp.test>\r\nTo: <app@shop.test>\r\nReturn-Path: <>\r\nSubject: complaint\r\n" +
		"Message-ID: <c1@isp.test>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n" +
		"Content-Type: text/plain\r\n\r\nThis is an abuse report.\r\n\r\n--b\r\n" +
		"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: Loop/1.0\r\n" +
		"Version: 1\r\nOriginal-Rcpt-To: <" + recipient + ">\r\n\r\n--b\r\n" +
		"Content-Type: message/rfc822\r\n\r\n" + string(header) + "\r\nHello.\r\n--b--\r\n"
}

// TestComplaintByMail: a complaint counts as one, and not as a bounce mail.
func TestComplaintByMail(t *testing.T) {
	s := newScene(t, "postmark", "pipe = true\n")
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	taken, err := s.app.operated().Mail(t.Context(), []byte(complaint("joe@x.test", m.Header)))
	if err != nil || !taken {
		t.Fatalf("taken: %v, %v", taken, err)
	}
	if e := s.line(relay.EventComplained, "joe@x.test"); e.Source != "arf" || e.MatchedBy != "queue_id" {
		t.Errorf("%+v", e)
	}
	for _, series := range []string{
		`mailwhy_feedback_total{provider="other",result="matched",source="arf"} 1`,
		`mailwhy_feedback_total{provider="other",result="matched",source="dsn"} 0`,
		`mailwhy_feedback_last_timestamp_seconds{source="arf"} `,
	} { // it is counted after it was logged
		smtptest.WaitFor(t, series, func() bool { return strings.Contains(s.metrics(), series) })
	}
}

// TestBounceOfItsOwnHost: of a message to several a bounce is proven by the host that SPF knows, and likely
// when another one brings it or DNS does not answer.
func TestBounceOfItsOwnHost(t *testing.T) {
	zone := dnstest.Start(t, "mx.office.test TXT \"v=spf1 ip4:127.0.0.1 ip6:::1 -all\"\n"+
		"mx.office.test. A 127.0.0.1\n")
	for _, tt := range []struct {
		name, server, domain string
		want                 relay.Trust
	}{
		{"its own", zone.Addr, "office.test", relay.TrustProven},
		{"another", zone.Addr, "x.test", relay.TrustLikely},
		{"offline", "127.0.0.1:1", "office.test", relay.TrustLikely},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := bounceScene(t, "")
			s.stop()
			s.open()
			s.app.feedback.dns = &dnsclient.Client{Servers: []string{tt.server}, Timeout: time.Second}
			s.run()
			to := "joe@" + tt.domain
			path := s.send(to, "ann@"+tt.domain).From
			got := s.deliver("", path, bounceMail(path, to, unknown, nil))
			if !strings.HasPrefix(got, "250 ") {
				t.Fatal(got)
			}
			e := s.line(relay.EventBounced, to)
			if e.Trust != tt.want || (e.Note != "") != (tt.name == "offline") {
				t.Errorf("trust %s, note %q", e.Trust, e.Note)
			}
		})
	}
}
