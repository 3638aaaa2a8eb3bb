package bounce

import (
	"fmt"
	"strings"
	"testing"
)

// TestKinds: a mail is classified before anything of it is diagnosed.
func TestKinds(t *testing.T) {
	const (
		letter   = "From: Ann <ann@c.example>\nTo: app@shop.example\nSubject: %s\n%s\n\n%s\n"
		failed   = "Final-Recipient: rfc822; bob@c.example\nAction: failed\nStatus: 5.1.1\n\n"
		late     = "Final-Recipient: rfc822; ann@c.example\nAction: delayed\nStatus: 4.4.1\n\n"
		done     = "Final-Recipient: rfc822; eve@c.example\nAction: relayed\nStatus: 2.1.9\n\n"
		quote    = "> <bob@c.example>:\n> 550 5.1.1 no such user\n"
		feedback = "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
	)
	away := func(subject, field string) string { return fmt.Sprintf(letter, subject, field, "I am away.") }
	for _, c := range []struct {
		name, file string
		want       Kind
	}{
		{"a failure", report("", statusType+"\n"+failed), KindFailure},
		{"a failure and others", report("", statusType+"\n"+done+late+failed), KindFailure},
		{"a delay and a success", report("", statusType+"\n"+done+late), KindDelay},
		{"a success", report("", statusType+"\n"+done), KindSuccess},
		{"a status of nobody", report("", statusType+"\nReporting-MTA: dns; a\n"), KindFailure},
		{"a complaint", report("550 5.7.1 spam", feedback), KindComplaint},
		{"a complaint about a bounce", report("", feedback+original+report("", statusType+"\n"+failed)),
			KindComplaint},
		{"a complaint without its report", strings.Replace(report("", "Content-Type: text/plain\n\nx\n"),
			"boundary=b", "boundary=b; report-type=feedback-report", 1), KindComplaint},
		{"a bounce of a complaint", daemon("<bob@c.example>:\n550 no\n\n--- Below this line is a copy " +
			"of the message.\n\n" + report("", feedback)), KindFailure},
		{"Outlook.com's", "From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.1\n\nx\n",
			KindComplaint},
		{"a read receipt", report("Displayed.", "Content-Type: message/disposition-notification\n\n"+
			"Final-Recipient: rfc822; bob@c.example\n"+
			"Disposition: manual-action/MDN-sent-manually; displayed\n"),
			KindReceipt},
		{"RFC 3834", away("Hello", "Auto-Submitted: auto-replied"), KindAutoReply},
		{"RFC 3834, with parameters", away("Hello", "Auto-Submitted: auto-replied; owner-email=a@b.example"),
			KindAutoReply},
		{"a null sender", "Return-Path: <>\n" + away("Automatic reply: Hello",
			"X-Auto-Response-Suppress: All"), KindAutoReply},
		{"by its subject", away("Out of office: Hello", "X: y"), KindAutoReply},
		{"by its subject, encoded", away("=?utf-8?q?Abwesenheitsnotiz?=", "X: y"), KindAutoReply},
		{"by its precedence", away("Hello", "Precedence: auto_reply"), KindAutoReply},
		{"a bounce that says it is automatic", "Auto-Submitted: auto-replied\n" +
			daemon("Undeliverable\n<bob@c.example>:\n550 5.1.1 no\n"), KindFailure},
		{"an answer", fmt.Sprintf(letter, "Re: Hello", "In-Reply-To: <1@shop.example>", "Thanks!"),
			KindReply},
		{"a person who answers a bounce", fmt.Sprintf(letter, "Re: Undeliverable: Hello",
			"In-Reply-To: <1@shop.example>", "What is this?\n\n"+quote), KindReply},
		{"a letter", fmt.Sprintf(letter, "Hello", "X: y", "550 people came, said ann@c.example."), KindNone},
		{"a letter with addresses", fmt.Sprintf(letter, "Who to ask", "X: y", "ann@c.example\nbob@c.example"),
			KindNone},
		{"a null sender and no more", "Return-Path: <>\n" + fmt.Sprintf(letter, "Hello", "X: y", "Hello"),
			KindNone},
		{"nothing", "", KindNone},
	} {
		for _, eol := range []string{"\n", "\r\n", "\r"} {
			file := strings.ReplaceAll(strings.ReplaceAll(c.file, "\r\n", "\n"), "\n", eol)
			r := Parse([]byte(file))
			if r.Kind != c.want {
				t.Errorf("%s, %q: %s, want %s", c.name, eol, r.Kind, c.want)
			}
			isBounce := r.Kind == KindFailure || r.Kind == KindDelay || r.Kind == KindSuccess
			if isBounce != (len(r.Notifications) > 0) || (r.Kind == KindComplaint) != (r.Complaint != nil) {
				t.Errorf("%s, %q: %s with %d notifications, complaint %v", c.name, eol, r.Kind,
					len(r.Notifications), r.Complaint)
			}
		}
	}
}

// TestForwarded: what was forwarded is read where the mail around it says nothing, and never what came back.
func TestForwarded(t *testing.T) {
	inner := report("", statusType+"\n"+ofBob)
	around := func(header, text string) string {
		return header + "Content-Type: multipart/mixed; boundary=f\n\n--f\n\n" + text +
			"\n--f\nContent-Type: message/rfc822\n\n" + inner + "\n--f--\n"
	}
	for _, c := range []struct{ name, file, want string }{
		{"a person's", around("From: ann@shop.example\nSubject: Fwd: Undelivered\n", "What is this?"),
			"bob@c.example 0"},
		{"a bounce of a bounce", around("From: MAILER-DAEMON@a.example\n",
			"<eve@d.example>:\n550 5.1.1 no"), "eve@d.example 550"},
		{"a bounce that names nobody", around("From: MAILER-DAEMON@a.example\n", "Not delivered."),
			"bob@c.example 0"},
	} {
		r := Parse([]byte(c.file))
		got := ""
		for _, n := range r.Notifications {
			for _, r := range n.Recipients {
				got += fmt.Sprint(r.Address, " ", r.Symptom.Reply.Code)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestStatusThatNamesNobody: the words do.
func TestStatusThatNamesNobody(t *testing.T) {
	r := theRecipient(t, report("Delivery to the following recipients failed permanently:\n\n"+
		"   * bob@c.example\n", statusType+"\nReporting-MTA: dns; a.example\n"))
	if r.Address != "bob@c.example" || r.Kind != KindFailure {
		t.Errorf("%+v", r)
	}
}

// TestComplaintOfOutlook: it is the message alone, which names the recipient.
func TestComplaintOfOutlook(t *testing.T) {
	r := Parse([]byte("From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.1\n" +
		"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n" +
		"X-HmXmrOriginalRecipient: <bob@c.example>\nMessage-ID: <1@shop.example>\n\nHello\n--b--\n"))
	if c := r.Complaint; c == nil || c.Type != "abuse" || fmt.Sprint(c.Recipients) != "[bob@c.example]" ||
		c.Message.ID != "<1@shop.example>" {
		t.Errorf("%+v", c)
	}
}

func TestComplaintFields(t *testing.T) {
	r := Parse([]byte(report("This is an email abuse report.", "Content-Type: message/feedback-report\n\n"+
		"Feedback-Type: Abuse\nUser-Agent: Some/1.0\nOriginal-Mail-From: <app@shop.example>\n"+
		"Original-Rcpt-To: <bob@c.example>\nOriginal-Rcpt-To: <ann@c.example>\nSource-IP: 192.0.2.1\n"+
		"Original-Envelope-Id: E1\nArrival-Date: Mon, 23 Nov 2026 10:00:00 +0000\n"+original+
		"Message-ID: <1@shop.example>\nSubject: Hello\n\nx\n")))
	want := Complaint{Type: "abuse", Recipients: []string{"bob@c.example", "ann@c.example"},
		Sender: "app@shop.example", Reporter: "Some/1.0", SourceIP: "192.0.2.1",
		Date: "Mon, 23 Nov 2026 10:00:00 +0000", Message: r.Complaint.Message}
	if fmt.Sprintf("%+v", *r.Complaint) != fmt.Sprintf("%+v", want) ||
		want.Message.ID != "<1@shop.example>" || want.Message.Subject != "Hello" {
		t.Errorf("%+v", *r.Complaint)
	}
	if got := keysOf(r); got != "envelope_id E1 status; message_id 1@shop.example original" {
		t.Errorf("keys %q", got)
	}
}
