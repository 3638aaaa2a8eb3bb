package mail

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/internal/returnpath"
)

// The message that all samples are about: to bob and ann, with this queue id and Message-ID.
const (
	theID    = "06BZ1ZD7R0G40R40M30E2091"
	otherID  = "06BZ1ZD7R0G40R40M30E2092"
	original = "Received: from app.shop.example (localhost [127.0.0.1])\r\n" +
		"\tby relay.shop.example (mailwhy) with ESMTP id " + theID + ";\r\n" +
		"\tSun, 29 Nov 2026 10:00:00 +0000\r\n" +
		"From: Shop <app@shop.example>\r\nTo: bob@c.example, ann@d.example\r\n" +
		"Subject: Your order\r\nMessage-ID: <1@shop.example>\r\nDate: Sun, 29 Nov 2026 10:00:00 +0000\r\n"
)

// came is when the samples came.
func came() time.Time { return time.Date(2026, 11, 29, 11, 0, 0, 0, time.UTC) }

// status is a report as Postfix writes it, with the fields of one or more recipients.
func status(header, recipients string) string {
	return header + "From: MAILER-DAEMON@mx.c.example (Mail Delivery System)\r\n" +
		"Subject: Undelivered Mail Returned to Sender\r\n" +
		"Message-ID: <20261129100102.7F3A2@mx.c.example>\r\n" +
		"Date: Sun, 29 Nov 2026 10:01:02 +0000\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"B\"\r\n\r\n" +
		"--B\r\nContent-Type: text/plain\r\n\r\nI'm sorry to have to inform you that your message could\r\n" +
		"not be delivered to one or more recipients.\r\n\r\n" +
		"--B\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; MX.c.example\r\n" + recipients +
		"\r\n--B\r\nContent-Type: text/rfc822-headers\r\n\r\n" + original + "\r\n--B--\r\n"
}

// failed are the fields of a recipient who was refused.
func failed(address string) string {
	return "\r\nFinal-Recipient: rfc822; " + address + "\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
		"Remote-MTA: dns; mail.c.example\r\nDiagnostic-Code: smtp; 550 5.1.1 <" + address +
		">: no such user\r\n"
}

// complaint is one of a feedback loop (RFC 5965).
func complaint(kind, fields string) string {
	return "From: <feedback@isp.example>\r\nSubject: complaint\r\nMessage-ID: <c1@isp.example>\r\n" +
		"Date: Sun, 29 Nov 2026 10:30:00 +0000\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=feedback-report; boundary=\"B\"\r\n\r\n" +
		"--B\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n\r\n" +
		"--B\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: " + kind + "\r\n" +
		"User-Agent: Loop/1.0\r\nVersion: 1\r\n" + fields +
		"\r\n--B\r\nContent-Type: message/rfc822\r\n\r\n" + original + "\r\nHello.\r\n--B--\r\n"
}

// A person's answer, which quotes what it answers as people's programs do.
const answer = "From: Bob <bob@c.example>\r\nTo: app@shop.example\r\nSubject: Re: Your order\r\n" +
	"In-Reply-To: <1@shop.example>\r\nMessage-ID: <r1@c.example>\r\n\r\n" +
	"The parcel came back to me: delivery failed, the driver said. Please send it again.\r\n" +
	"> From: Shop <app@shop.example>\r\n> Message-ID: <1@shop.example>\r\n"

// A vacation message.
const vacation = "From: Bob <bob@c.example>\r\nTo: app@shop.example\r\nSubject: Out of office\r\n" +
	"Auto-Submitted: auto-replied\r\nIn-Reply-To: <1@shop.example>\r\n\r\nI am away until Monday.\r\n"

// What only a mail system can have written, in a language that nobody has taught us.
const unknown = "Return-Path: <>\r\nFrom: <post@mail.example>\r\nSubject: Tidings\r\n\r\n" +
	"Tidings of the letter to him whom you know. Alas.\r\n"

// paths are the return paths of the tests.
func paths(t testing.TB) *returnpath.Paths {
	t.Helper()
	p, err := returnpath.New("b@bounces.shop.example", []byte("a key of the test, 32 bytes long"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reader is one for the tests.
func reader(t testing.TB) *Reader {
	own := func(id string) bool { return id == "<own.token@relay.shop.example>" }
	return &Reader{Paths: paths(t), Own: own}
}

// events are those of a mail that came through the journal.
func events(t testing.TB, m *Mail) []feedback.Event {
	t.Helper()
	list, err := reader(t).Read(m.raw("bounces", came()))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// one is the one event of a mail.
func one(t testing.TB, m *Mail) feedback.Event {
	t.Helper()
	list := events(t, m)
	if len(list) != 1 {
		t.Fatalf("%d events of\n%s", len(list), m.Content)
	}
	return list[0]
}

// journal is one in memory.
type journal struct {
	mu   sync.Mutex
	kept []feedback.Raw
	fail error
}

func (j *journal) Append(_ context.Context, raw *feedback.Raw) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	kept := *raw
	kept.Body = []byte(strings.Clone(string(raw.Body)))
	j.kept = append(j.kept, kept)
	return nil
}

// said writes keys out: "return_path ID", "queue_id ID by HOST", "return_path ID of RECIPIENT".
func said(keys []feedback.Key) string {
	var list []string
	for _, k := range keys {
		if !relay.ValidID(k.Value) && k.Kind != feedback.KeyMessageID && k.Kind != feedback.KeyProviderID {
			list = append(list, "NOT VALID")
		}
		s := string(k.Kind) + " " + k.Value
		if k.Host != "" {
			s += " by " + k.Host
		}
		if k.Recipient != "" {
			s += " of " + k.Recipient
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}
