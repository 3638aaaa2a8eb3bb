package app

import (
	"fmt"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/imaptest"
)

// reported is a bounce that another mail system writes about a mail, with the mail's header in it (RFC 3464).
func reported(header, to, reply string) string {
	return "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.x.test\r\nTo: app@shop.test\r\n" +
		"Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n" +
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.x.test\r\n\r\n" +
		"Final-Recipient: rfc822; " + to + "\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
		"Diagnostic-Code: smtp; " + reply + "\r\n" +
		"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n" + header + "\r\n--b--\r\n"
}

// TestMailbox: a bounce that comes to somebody's mailbox is explained in the log and moved; the person's mail
// beside it stays as it was.
func TestMailbox(t *testing.T) {
	const person = "From: ann@x.test\r\nTo: app@shop.test\r\nSubject: Re: hello\r\n\r\nThank you!\r\n"
	server := imaptest.New(t, imaptest.Options{Username: "app@shop.test", Password: "correct-horse"})
	if err := server.Append("INBOX", person); err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "brevo", fmt.Sprintf("[[feedback.mailbox]]\nname = \"box\"\nhost = \"127.0.0.1\"\n"+
		"port = %d\ntls = \"none\"\nusername = \"app@shop.test\"\npassword = \"correct-horse\"\n"+
		"after = \"move:Bounces\"\n", server.Port()))
	smtptest.WaitFor(t, "IDLE", func() bool { return server.Idling() == 1 })
	m := s.send("bob@x.test")
	if err := server.Append("INBOX", reported(string(m.Header), "bob@x.test",
		"550 5.1.1 <bob@x.test>: User unknown")); err != nil {
		t.Fatal(err)
	}
	e := s.line(relay.EventBounced, "bob@x.test")
	if e.Source != "dsn" || e.Diagnosis == nil || e.Diagnosis.Category != "Invalid Address" ||
		len(e.Diagnosis.Fix) == 0 || !strings.Contains(e.Reply, "User unknown") {
		t.Errorf("%+v", e)
	}
	smtptest.WaitFor(t, "the move", func() bool {
		moved, err := server.Mails("Bounces")
		return err == nil && len(moved) == 1
	})
	left, err := server.Mails("INBOX")
	if err != nil || len(left) != 1 || left[0].Content != person || len(left[0].Flags) != 0 {
		t.Errorf("INBOX: %v, %v", left, err)
	}
}
