package mail

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/feedback"
)

// TestJudge: what each mail is. A person's is never taken, whatever it talks of.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name, content, from string
		want                Verdict
	}{
		{"a failure", status("", failed("bob@c.example")), NullSender, VerdictReport},
		{"a failure out of a mailbox", status("", failed("bob@c.example")), "", VerdictReport},
		{"a complaint", complaint("abuse", ""), "feedback@isp.example", VerdictReport},
		{"not spam after all", complaint("not-spam", ""), "feedback@isp.example", VerdictAutomatic},
		{"a failed signature", complaint("auth-failure", ""), "feedback@isp.example", VerdictAutomatic},
		{"a report of our own", strings.Replace(status("", failed("bob@c.example")),
			"<20261129100102.7F3A2@mx.c.example>", "<own.token@relay.shop.example>", 1), NullSender,
			VerdictOwn},
		{"a person's answer", answer, "bob@c.example", VerdictPerson},
		{"a person's answer with the null sender", answer, NullSender, VerdictPerson},
		{"a person's mail", "From: bob@c.example\r\nSubject: Hello\r\n\r\nHow are you?\r\n", "bob@c.example",
			VerdictPerson},
		{"a person's mail out of a mailbox", "From: bob@c.example\r\nSubject: Hello\r\n\r\nHow are you?\r\n",
			"", VerdictPerson},
		{"a vacation message", vacation, "", VerdictAutomatic},
		{"what a mail system says in words unknown, out of a mailbox", unknown, "", VerdictPerson},
		{"the same to a return path", "To: " + paths(t).Address(theID) + "\r\n" + unknown, "", VerdictUnread},
		{"the same with its envelope", unknown, NullSender, VerdictUnread},
		{"the same words of a person", unknown, "bob@c.example", VerdictPerson},
		{"nothing", "", "bob@c.example", VerdictPerson},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Mail{Content: []byte(tt.content), From: tt.from}
			got := reader(t).Judge(m)
			if got != tt.want {
				t.Errorf("judged %s, want %s", got, tt.want)
			}
			if taken := tt.want == VerdictReport || tt.want == VerdictUnread; got.Taken() != taken {
				t.Errorf("%s is taken: %v", got, got.Taken())
			}
			list, err := reader(t).Read(m.raw("bounces", came()))
			if (len(list) > 0) != (tt.want == VerdictReport) || (err != nil) != (tt.want == VerdictUnread) {
				t.Errorf("read as %d events, error %v", len(list), err)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	e := one(t, &Mail{Content: []byte(status("", failed("bob@c.example"))), From: NullSender})
	want := feedback.Event{
		Source: feedback.SourceDSN, Provider: "mx.c.example", Kind: feedback.KindBounced,
		Time:      time.Date(2026, 11, 29, 10, 1, 2, 0, time.UTC),
		Recipient: "bob@c.example", Reply: "550 5.1.1 <bob@c.example>: no such user", Status: "5.1.1",
		Type: "failed", Host: "mail.c.example", ID: e.ID, Keys: e.Keys, Raw: e.Raw,
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %+v\nwant %+v", e, want)
	}
	if e.ID == "" || len(e.Raw) == 0 {
		t.Error("no id, or nothing of the mail itself")
	}
}

// TestKinds: what becomes of a recipient is what the report's Action says.
func TestKinds(t *testing.T) {
	fields := func(action, status string) string {
		return "\r\nFinal-Recipient: rfc822; bob@c.example\r\nAction: " + action +
			"\r\nStatus: " + status + "\r\n"
	}
	for _, tt := range []struct {
		action, status string
		want           feedback.Kind
	}{
		{"failed", "5.1.1", feedback.KindBounced}, {"delayed", "4.4.1", feedback.KindRetrying},
		{"delivered", "2.1.5", feedback.KindDelivered}, {"relayed", "2.1.9", feedback.KindDelivered},
		{"expanded", "2.0.0", feedback.KindDelivered}, {"failed", "4.4.7", feedback.KindBounced},
	} {
		e := one(t, &Mail{Content: []byte(status("", fields(tt.action, tt.status))), From: NullSender})
		if e.Kind != tt.want || e.Type != tt.action || e.Status != tt.status {
			t.Errorf("%s %s gives %s, %s %s", tt.action, tt.status, e.Kind, e.Type, e.Status)
		}
	}
}

// TestRecipients: one event for each recipient that the report names, with an id of its own, and none for
// those that only the returned header names.
func TestRecipients(t *testing.T) {
	two := events(t, &Mail{Content: []byte(status("", failed("bob@c.example")+failed("eve@c.example"))),
		From: NullSender})
	if len(two) != 2 || two[0].Recipient != "bob@c.example" || two[1].Recipient != "eve@c.example" ||
		two[0].ID == two[1].ID {
		t.Errorf("got %+v", two)
	}
	nobody := one(t, &Mail{Content: []byte(status("", "")), From: NullSender})
	if nobody.Recipient != "" || nobody.Kind != feedback.KindBounced || len(nobody.Keys) == 0 {
		t.Errorf("of a report on nobody: %+v", nobody)
	}
	alias := one(t, &Mail{Content: []byte(status("", "\r\nOriginal-Recipient: rfc822;bob@c.example"+
		failed("b.ob@internal.c.example"))), From: NullSender})
	if alias.Recipient != "b.ob@internal.c.example" || alias.Original != "bob@c.example" {
		t.Errorf("behind an alias: %s, %s", alias.Recipient, alias.Original)
	}
	words := one(t, &Mail{From: NullSender, Content: []byte("From: MAILER-DAEMON@a.example\r\n" +
		"Subject: failure notice\r\n\r\nHi. This is the qmail-send program at a.example.\r\n\r\n" +
		"<bob@c.example>:\r\nRemote host said: 552 5.2.2 mailbox full\r\n\r\n" +
		"--- Below this line is a copy of the message.\r\n\r\n" + original)})
	if words.Recipient != "bob@c.example" || words.Reply != "Remote host said: 552 5.2.2 mailbox full" ||
		words.Provider != "a.example" {
		t.Errorf("in words: %s, %s, %s", words.Recipient, words.Reply, words.Provider)
	}
}

func TestComplaint(t *testing.T) {
	const rcpt = "Original-Rcpt-To: "
	for _, tt := range []struct {
		name, kind, fields, recipient string
		n                             int
		shared                        bool
	}{
		{"who complains is named", "abuse", rcpt + "<bob@c.example>\r\n", "bob@c.example", 1, false},
		{"or not", "abuse", "", "", 1, false},
		{"or made unreadable", "fraud", rcpt + "9f86d081884c7d65\r\n", "", 1, false},
		{"or one of several", "abuse", rcpt + "bob@c.example\r\n" + rcpt + "ann@d.example\r\n",
			"bob@c.example", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := events(t, &Mail{Content: []byte(complaint(tt.kind, tt.fields))})
			if len(list) != tt.n {
				t.Fatalf("%d events", len(list))
			}
			e := list[0]
			if e.Source != feedback.SourceARF || e.Kind != feedback.KindComplained || e.Type != tt.kind ||
				e.Recipient != tt.recipient || e.Shared != tt.shared || e.Provider != "isp.example" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestSameMailTwice: a mail has the same events whichever way it comes, and another one has others.
func TestSameMailTwice(t *testing.T) {
	content := status("", failed("bob@c.example"))
	first := one(t, &Mail{Content: []byte(content), From: NullSender, To: []string{paths(t).Address(theID)},
		Peer: "192.0.2.1"})
	for name, again := range map[string]string{
		"out of a mailbox": "Return-Path: <>\r\nDelivered-To: b@bounces.shop.example\r\n" +
			"Received: from mx.c.example by mail.shop.example; Sun, 29 Nov 2026 10:01:04 +0000\r\n" + content,
		"out of a maildir": strings.ReplaceAll(content, "\r\n", "\n"),
		"from mbox": "From MAILER-DAEMON Sun Nov 29 10:01:04 2026\n" +
			strings.ReplaceAll(content, "\r\n", "\n"),
		"without its end": strings.TrimRight(content, "\r\n"),
	} {
		if e := one(t, &Mail{Content: []byte(again)}); e.ID != first.ID {
			t.Errorf("%s: another id", name)
		}
	}
	for name, other := range map[string]string{
		"another day":     strings.Replace(content, "10:01:02 +0000", "10:01:03 +0000", 1),
		"another reply":   strings.Replace(content, "no such user", "mailbox full", 1),
		"another report":  strings.Replace(content, "7F3A2", "7F3A3", 1),
		"another message": strings.Replace(content, theID, otherID, 1),
		"another person":  strings.ReplaceAll(content, "bob@c", "eve@c"),
	} {
		if e := one(t, &Mail{Content: []byte(other)}); e.ID == first.ID {
			t.Errorf("%s: the same id", name)
		}
	}
}

// TestJournalled: a mail comes out of the journal as it went in.
func TestJournalled(t *testing.T) {
	for _, m := range []Mail{
		{Content: []byte("a\x00\xff"), From: NullSender,
			To: []string{"b+x@bounces.example", `"a b"@c.example`}, Peer: "mx.c.example",
			Hello: "mx.c.example", Cut: true},
		{Content: []byte("a")},
	} {
		stored, err := json.Marshal(m.raw("bounces", came()))
		if err != nil {
			t.Fatal(err)
		}
		var raw feedback.Raw
		if err := json.Unmarshal(stored, &raw); err != nil {
			t.Fatal(err)
		}
		if got := Of(&raw); !reflect.DeepEqual(*got, m) {
			t.Errorf("got %+v, want %+v", *got, m)
		}
		if raw.Source != "bounces" || raw.Provider != Provider || !raw.Time.Equal(came()) {
			t.Errorf("journalled as %+v", raw)
		}
	}
}

// TestDate: a report is not from the future, and one without a date is from when it came.
func TestDate(t *testing.T) {
	content := status("", failed("bob@c.example"))
	for _, date := range []string{"Mon, 30 Nov 2037 10:01:02 +0000", "yesterday", ""} {
		late := strings.Replace(content, "Sun, 29 Nov 2026 10:01:02 +0000", date, 1)
		if e := one(t, &Mail{Content: []byte(late)}); !e.Time.Equal(came()) {
			t.Errorf("dated %q: %s", date, e.Time)
		}
	}
}
