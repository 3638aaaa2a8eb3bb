package app

import (
	"cmp"
	"os"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postfix"
)

// odd is a mail as an application may send it, and what is to arrive. LF stands for CRLF, and an empty sender
// or recipient for an ordinary one. The fields that a relay adds are "Message-ID: added" and "Date: added".
// postfix is what arrives through Postfix, where that is something else, and why says why it is: TestPostfix
// compares.
type odd struct {
	name, from, to, content string
	want                    string // the content, or how the refusal begins
	envelope                string // sender and recipient as they arrive, if they change
	postfix                 string
	why                     string
}

const (
	oddDate  = "Date: Sat, 28 Nov 2015 10:00:00 +0000\n"
	oddFrom  = "From: app@shop.test\n"
	oddID    = "Message-ID: <1@shop.test>\n"
	oddHead  = oddFrom + oddDate + oddID
	oddAdded = "Message-ID: added\nDate: added\n"
	oddAll   = oddAdded + oddFrom
)

// oddMails are the structure of contents, the fields of headers, and the envelope.
func oddMails() (all []odd) {
	return append(append(append(all, oddStructures()...), oddFields()...), append(oddAddresses(),
		oddEnvelopes()...)...)
}

// oddStructures have a header that is not one, or has no end.
func oddStructures() []odd {
	const mbox = "From root Sat Nov 28 10:00:00 2015\n"
	return []odd{
		{name: "nothing odd", content: oddHead + "Subject: s\n\nbody\n", want: oddHead +
			"Subject: s\n\nbody\n"},
		{name: "text alone", content: "Disk full\non db1\n", want: oddAll + "\nDisk full\non db1\n"},
		{name: "text that begins like a field", content: "Warning: disk full\non db1\n",
			want: "Warning: disk full\n" + oddAll + "\non db1\n"},
		{name: "a URL alone", content: "http://x.test/y\n", want: "http://x.test/y\n" + oddAll},
		{name: "no empty line", content: oddHead + "Subject: s\nbody at once\nmore\n",
			want: oddHead + "Subject: s\n\nbody at once\nmore\n"},
		{name: "a blank first", content: "  an indented line\n" + oddHead + "\nbody\n",
			want: oddAll + "\n  an indented line\n" + oddHead + "\nbody\n"},
		{name: "a TAB first", content: "\tindented\nbody\n", want: oddAll + "\n\tindented\nbody\n"},
		{name: "an mbox line", content: mbox + oddHead + "\nbody\n",
			want: "X-Mailbox-Line: " + mbox + oddHead + "\nbody\n"},
		{name: "a quoted mbox line", content: ">" + mbox + oddHead + "\nbody\n",
			want: "X-Mailbox-Line: >" + mbox + oddHead + "\nbody\n"},
		{name: "two mbox lines", content: ">>" + mbox + "From x\n" + oddHead + "\nbody\n",
			want: "X-Mailbox-Line: >>" + mbox + "X-Mailbox-Line: From x\n" + oddHead + "\nbody\n"},
		{name: "an mbox line, then a blank", content: mbox + " x\n" + oddHead + "\nbody\n",
			want: "X-Mailbox-Line: " + mbox + oddAll + "\n x\n" + oddHead + "\nbody\n"},
		{name: "From with a blank before the colon, first",
			content: "From : app@shop.test\n" + oddDate + oddID + "\nbody\n",
			want:    "From: app@shop.test\n" + oddDate + oddID + "\nbody\n",
			postfix: "X-Mailbox-Line: From : app@shop.test\n" + oddDate + oddID + oddFrom + "\nbody\n",
			why:     "it is From (RFC 5322, 4.5)"},
		{name: "an mbox line in the header", content: oddHead + mbox + "Subject: s\n\nbody\n",
			want: oddHead + "\n" + mbox + "Subject: s\n\nbody\n"},
		{name: "nothing", content: "", want: oddAll},
		{name: "an empty line", content: "\n", want: oddAll + "\n"},
		{name: "a header alone", content: "Subject: s\n", want: "Subject: s\n" + oddAll},
		{name: "a colon first", content: ": x\nSubject: s\n\nbody\n", want: oddAll +
			"\n: x\nSubject: s\n\nbody\n"},
		{name: "a blank in a name", content: oddHead + "X Y: z\nSubject: s\n\nbody\n",
			want: oddHead + "\nX Y: z\nSubject: s\n\nbody\n"},
		{name: "a control character in a name", content: oddHead + "X\x01Y: z\nSubject: s\n\nbody\n",
			want: oddHead + "\nX\x01Y: z\nSubject: s\n\nbody\n"},
		{name: "8 bits in a name", content: oddHead + "S\xfcbject: z\n\nbody\n",
			want: oddHead + "\nS\xfcbject: z\n\nbody\n"},
		{name: "a blank before a colon", content: oddHead + "Subject : s\n\nbody\n",
			want: oddHead + "Subject: s\n\nbody\n"},
		{name: "a blank line in the header", content: oddHead + "Subject: s\n \nmore\n\nbody\n",
			want: oddHead + "Subject: s\n \n\nmore\n\nbody\n"},
		{name: "a header in the body", content: oddHead + "\nBcc: a@b.test\nTo: root\nFrom x\n",
			want: oddHead + "\nBcc: a@b.test\nTo: root\nFrom x\n"},
		{name: "dots", content: oddHead + "\n.\n..\n.a\n", want: oddHead + "\n.\n..\n.a\n"},
		{name: "8 bits in the body", content: oddHead + "\n\xe4\xf6\xfc\n", want: oddHead +
			"\n\xe4\xf6\xfc\n"},
	}
}

// oddFields have fields that must not leave, are empty or missing, or are there twice.
func oddFields() []odd {
	const gmail = "empty fields count as missing: Gmail refuses them"
	return []odd{
		{name: "Bcc", content: oddHead + "Bcc: secret@x.test\n\nbody\n", want: oddHead + "\nbody\n"},
		{name: "Bcc, folded", content: oddHead +
			"Bcc: secret@x.test,\n\tother@x.test,\n third@x.test\nSubject: s\n\nbody\n",
			want: oddHead + "Subject: s\n\nbody\n"},
		{name: "Bcc, twice, in capitals", content: "BCC: a@x.test\n" + oddHead + "bcc : b@x.test\n\nbody\n",
			want: oddHead + "\nbody\n"},
		{name: "Bcc, and no empty line", content: oddHead + "Bcc: a@x.test\nbody\n", want: oddHead +
			"\nbody\n"},
		{name: "Return-Path", content: "Return-Path: <x@y.test>\n" + oddHead + "\nbody\n", want: oddHead +
			"\nbody\n"},
		{name: "Content-Length", content: oddHead + "Content-Length: 5\n\nbody\n", want: oddHead +
			"\nbody\n"},
		{name: "Resent-Bcc", content: oddHead + "Resent-Bcc: a@x.test\n\nbody\n", want: oddHead + "\nbody\n",
			postfix: oddHead +
				"Resent-Message-ID: added\nResent-Date: added\nResent-From: app@shop.test\n\nbody\n",
			why: "who hands in mail does not resend it"},
		{name: "resent", content: oddFrom + "Resent-From: joe@x.test\n\nbody\n",
			want: oddFrom + "Resent-From: joe@x.test\n" + oddAdded + "\nbody\n",
			postfix: oddFrom +
				"Resent-From: joe@x.test\nResent-Message-ID: added\nResent-Date: added\n\nbody\n",
			why: "Message-ID and Date are required whatever else there is (RFC 5322, 3.6)"},
		{name: "no Message-ID", content: oddFrom + oddDate + "\nbody\n",
			want: oddFrom + oddDate + "Message-ID: added\n\nbody\n"},
		{name: "no Date", content: oddFrom + oddID + "\nbody\n", want: oddFrom + oddID +
			"Date: added\n\nbody\n"},
		{name: "no From", content: oddDate + oddID + "\nbody\n", want: oddDate + oddID + oddFrom +
			"\nbody\n"},
		{name: "names in small letters", content: strings.ToLower(oddHead) + "\nbody\n",
			want: strings.ToLower(oddHead) + "\nbody\n"},
		{name: "empty Message-ID and Date", content: oddFrom + "Message-ID:\nDate: \nSubject: s\n\nbody\n",
			want:    oddFrom + "Subject: s\n" + oddAdded + "\nbody\n",
			postfix: oddFrom + "Message-ID:\nDate: \nSubject: s\n\nbody\n", why: gmail},
		{name: "blank Message-ID, folded", content: oddFrom + oddDate +
			"Message-ID: \n \nSubject: s\n\nbody\n",
			want:    oddFrom + oddDate + "Subject: s\nMessage-ID: added\n\nbody\n",
			postfix: oddFrom + oddDate + "Message-ID: \n \nSubject: s\n\nbody\n", why: gmail},
		{name: "Message-ID: <>", content: oddFrom + oddDate + "Message-ID: <>\n\nbody\n",
			want:    oddFrom + oddDate + "Message-ID: added\n\nbody\n",
			postfix: oddFrom + oddDate + "Message-ID: <>\n\nbody\n", why: gmail},
		{name: "an empty Message-ID beside one", content: "Message-ID:\n" + oddHead + "\nbody\n",
			want: oddHead + "\nbody\n", postfix: "Message-ID:\n" + oddHead + "\nbody\n", why: gmail},
		{name: "an empty From", content: "From:\n" + oddDate + oddID + "\nbody\n",
			want: oddDate + oddID + oddFrom + "\nbody\n", postfix: "From:\n" + oddDate + oddID + "\nbody\n",
			why: gmail},
		{name: "From: <>", content: "From: <>\n" + oddDate + oddID + "\nbody\n",
			want: oddDate + oddID + oddFrom + "\nbody\n", postfix: "From: <>\n" + oddDate + oddID +
				"\nbody\n", why: gmail},
		{name: "a Date that is none", content: oddFrom + oddID + "Date: yesterday\n\nbody\n",
			want: oddFrom + oddID + "Date: yesterday\n\nbody\n"},
		{name: "everything twice", content: oddHead + oddHead + "Subject: a\nSubject: b\n\nbody\n",
			want: oddHead + oddHead + "Subject: a\nSubject: b\n\nbody\n"},
		{name: "empty Subject and To", content: oddHead + "Subject:\nTo:\n\nbody\n",
			want: oddHead + "Subject:\nTo:\n\nbody\n"},
	}
}

// oddAddresses have addresses in the header that have no domain, or dots in odd places.
func oddAddresses() []odd {
	head := func(name, in, out, postfix, why string) odd {
		o := odd{name: name, content: oddDate + oddID + in + "\nbody\n", want: oddDate + oddID + out +
			"\nbody\n", why: why}
		if postfix != "" {
			o.postfix = oddDate + oddID + postfix + "\nbody\n"
		}
		return o
	}
	return []odd{
		head("no domains",
			"From: root\nTo: www-data\nCc: joe, bob@x.test, Ann <ann>\nReply-To: r\nSender: s\n",
			"From: root@relay.test\nTo: www-data@relay.test\n"+
				"Cc: joe@relay.test, bob@x.test, Ann <ann@relay.test>\n"+
				"Reply-To: r@relay.test\nSender: s@relay.test\n", "", ""),
		head("as cron writes it", "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@db1> x\n",
			"From: root@relay.test (Cron Daemon)\nTo: root@relay.test\nSubject: Cron <root@db1> x\n", "", ""),
		head("as cron writes it now", "From: \"(Cron Daemon)\" <root>\nTo: root\n",
			"From: \"(Cron Daemon)\" <root@relay.test>\nTo: root@relay.test\n", "", ""),
		head("a quoted local part", "From: a@b.test\nTo: \"a b\"\n",
			"From: a@b.test\nTo: \"a b\"@relay.test\n", "", ""),
		head("folded", "From: =?utf-8?q?J=C3=B6rg?= <joerg>\nTo: \"Doe, John\" <john>,\n jane\n",
			"From: =?utf-8?q?J=C3=B6rg?= <joerg@relay.test>\nTo: \"Doe, John\" <john@relay.test>,\n"+
				" jane@relay.test\n", "", ""),
		head("8 bits in a name", "From: J\xf6rg <joerg>\nTo: a@b.test\n",
			"From: J\xf6rg <joerg@relay.test>\nTo: a@b.test\n", "", ""),
		head("a group", "From: a@b.test\nTo: undisclosed-recipients:;\nCc: friends: joe, ann@x.test;\n",
			"From: a@b.test\nTo: undisclosed-recipients:;\nCc: friends: joe@relay.test, ann@x.test;\n", "",
			""),
		head("dots", "From: a..b@docomo.test\nTo: .a@x.test, <a.@x.test>\n",
			"From: \"a..b\"@docomo.test\nTo: \".a\"@x.test, <\"a.\"@x.test>\n", "", ""),
		head("a host without dots", "From: a@host\n", "From: a@host\n", "", ""),
		head("an at sign and no domain", "From: root@\n", "From: root@\n", "", ""),
		head("a name without an address", "From: Cron Daemon\n", "From: Cron Daemon\n",
			"From: Cron@relay.test, Daemon@relay.test\n",
			"two mailboxes that do not exist would be no better"),
		head("an encoded name without an address", "From: =?utf-8?q?J=C3=B6rg?=\n",
			"From: =?utf-8?q?J=C3=B6rg?=\n",
			"From: =?utf-8?q?J=C3=B6rg?=@relay.test\n", "an encoded word is never an address (RFC 2047, 5)"),
		head("source routes", "From: a%b\nTo: c!d\n", "From: a%b@relay.test\nTo: c!d@relay.test\n",
			"From: a@b\nTo: d@c\n", "source routes are for smuggling mail past access lists"),
		head("other fields", "From: a@b.test\nResent-To: joe\nErrors-To: root\nX-To: root\n",
			"From: a@b.test\nResent-To: joe\nErrors-To: root\nX-To: root\n",
			"From: a@b.test\nResent-To: joe@relay.test\nErrors-To: root@relay.test\nX-To: root\n"+
				"Resent-Message-ID: added\nResent-Date: added\nResent-From: app@shop.test\n",
			"servers look at the five fields of who writes to whom"),
		head("8 bits in an address", "From: j\xc3\xb6rg\n", "From: j\xc3\xb6rg@relay.test\n", "", ""),
	}
}

// oddEnvelopes have an odd sender or recipient.
func oddEnvelopes() []odd {
	mail := func(name, from, to, envelope string) odd {
		return odd{name: name, from: from, to: to, envelope: envelope, content: oddHead + "\nbody\n",
			want: oddHead + "\nbody\n"}
	}
	refused := func(name, from, to, want string) odd {
		return odd{name: name, from: from, to: to, content: oddHead + "\nbody\n", want: want}
	}
	stricter := func(o odd, postfix, why string) odd { o.postfix, o.why = postfix, why; return o }
	return []odd{
		mail("root to root", "<root>", "<root>", "root@relay.test root@relay.test"),
		mail("no brackets", "app@shop.test", "joe@x.test", "app@shop.test joe@x.test"),
		mail("no brackets, with parameters", " app@shop.test SIZE=100", " joe@x.test NOTIFY=NEVER",
			"app@shop.test joe@x.test"),
		mail("no brackets, no domain", "root", "www-data", "root@relay.test www-data@relay.test"),
		mail("two dots", "<a..b@docomo.test>", "<x..y@docomo.test>", `"a..b"@docomo.test "x..y"@docomo.test`),
		mail("a dot at an end", "<.a@x.test>", "<b.@x.test>", `".a"@x.test "b."@x.test`),
		mail("dots alone", "<.@x.test>", "<...@x.test>", `"."@x.test "..."@x.test`),
		mail("a domain that ends in a dot", "<a@x.test.>", "<b@y.test.>", "a@x.test b@y.test"),
		mail("blanks around", "  <a@x.test>  ", " <b@y.test> ", "a@x.test b@y.test"),
		mail("a source route", "<@h.test:a@x.test>", "<@h.test:b@y.test>", "a@x.test b@y.test"),
		{name: "the null sender", from: "<>", to: "<a@b.test>", content: oddDate + oddID + "\nbody\n",
			envelope: " a@b.test",
			want:     oddDate + oddID + "From: MAILER-DAEMON@relay.test\n\nbody\n",
			postfix:  oddDate + oddID + "From: MAILER-DAEMON\n\nbody\n",
			why:      "an address has a domain (RFC 5322, 3.4.1)"},
		refused("no domain behind the at sign", "<a@>", "<b@x.test>", "501"),
		refused("a blank in an address", "<a b@x.test>", "<b@x.test>", "501"),
		refused("no closing bracket", "<a@x.test>", "<b@x.test", "501"),
		stricter(refused("a name before the address", "<a@x.test>", "Joe <b@x.test>", "501"), "555",
			"501 is for the syntax of an argument (RFC 5321, 4.2.2)"),
		stricter(refused("two at signs", "<a@b@x.test>", "<b@x.test>", "501"), oddHead+"\nbody\n",
			"a smarthost may send it on to the first domain"),
	}
}

// TestOddMails: mail as applications send it arrives as it should leave.
func TestOddMails(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	dir := t.TempDir()
	d, err := openDoor(t, dir, plainDoor(dir, upstream.URL())+"\n[[listen]]\naddress = \"127.0.0.1:0\"\n"+
		"[[client]]\nname = \"odd\"\nnetworks = [\"127.0.0.0/8\"]\nlenient = true\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range oddMails() {
		o.check(t, upstream, d.app.Addrs()[0].String(), o.want, func(s string) string { return s })
	}
	if n := len(oddMails()); n != 77 {
		t.Errorf("docs/content.md says 77 odd mails, there are %d", n)
	}
	checkChanges(t, dir+"/log")
}

// checkChanges: docs/content.md has every word that a delivery log has of changes.
func checkChanges(t *testing.T, log string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/content.md")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for line := range strings.Lines(string(lines)) {
		e, err := record.Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range e.Changed {
			said[change] = true
		}
	}
	for change := range said {
		anyField := strings.HasSuffix(change, " removed") // two of them stand for all
		if !anyField && !strings.Contains(string(page), "`"+change+"`") {
			t.Errorf("docs/content.md does not explain %q", change)
		}
	}
	if len(said) < 10 {
		t.Errorf("only %v was changed", said)
	}
}

// TestOddMailsThroughPostfix: the table tells the truth about Postfix.
func TestOddMailsThroughPostfix(t *testing.T) {
	root := os.Getenv("MAILWHY_SERVERS")
	if root == "" || os.Getuid() != 0 {
		t.Skip("skipping: Postfix is not unpacked, or we are not root: run scripts/upstream-test.sh")
	}
	dir, err := os.MkdirTemp("", "mailwhy-postfix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	addr, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	upstream := smtptest.New(t, smtptest.Options{})
	p, err := postfix.Start(t.Context(), postfix.Options{
		Root: root, Dir: dir, Addr: addr, Upstream: upstream.Port(),
		Main: "myhostname = relay.test\nmyorigin = relay.test\nmynetworks = 127.0.0.0/8\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for _, o := range oddMails() {
		want := o.postfix
		if want == "" {
			want = o.want
		}
		if (o.postfix == "") != (o.why == "") || o.postfix == o.want {
			t.Errorf("%s: no reason, or no difference", o.name)
		}
		o.check(t, upstream, addr, want, unfolded) // it folds lines anew
	}
}

// unfolded is a header with each field on a line of its own.
func unfolded(s string) string {
	return regexp.MustCompile(`[ \t]*\n[ \t]+`).ReplaceAllString(s, " ")
}

// check sends a mail to a relay at addr, and compares what arrives, or the refusal, as seen through view.
func (o *odd) check(t *testing.T, upstream *smtptest.Server, addr, want string, view func(string) string) {
	t.Helper()
	before := len(upstream.Messages())
	refusal := o.send(t, addr)
	if refusal != "" {
		if !strings.HasPrefix(refusal, want) || want == "" {
			t.Errorf("%s: %q; want %q", o.name, refusal, want)
		}
		return
	}
	smtptest.WaitFor(t, o.name+" to arrive", func() bool { return len(upstream.Messages()) > before })
	got := upstream.Messages()[before]
	if content := bare(t, got.Content); view(content) != view(want) {
		t.Errorf("%s:\ngot  %q\nwant %q", o.name, content, want)
	}
	if e := got.From + " " + got.To[0].Address; o.envelope != "" && e != o.envelope {
		t.Errorf("%s: envelope %q, want %q", o.name, e, o.envelope)
	}
}

// send sends a mail, and returns the reply that refuses it, if one does.
func (o *odd) send(t *testing.T, addr string) (refusal string) {
	t.Helper()
	stuffed := strings.ReplaceAll("\n"+o.content, "\n.", "\n..")[1:]
	reply := say(t, addr, "EHLO client.test", "MAIL FROM:"+cmp.Or(o.from, "<app@shop.test>"),
		"RCPT TO:"+cmp.Or(o.to, "<joe@x.test>"), "DATA", strings.ReplaceAll(stuffed, "\n", "\r\n")+".")
	if reply[0] == '2' {
		return ""
	}
	return reply
}

// bare is a content with LF line ends, less the Received field, and with the values of added fields replaced.
func bare(t *testing.T, content []byte) string {
	t.Helper()
	s := "\n" + strings.ReplaceAll(string(withoutTrace(t, content)), "\r\n", "\n")
	for _, added := range []struct{ pattern, with string }{
		{`(?i)\n((Resent-)?)Message-Id: <[0-9A-Z.]+@relay\.test>\n`, "\n${1}Message-ID: added\n"},
		{`\n((Resent-)?)Date: \w{3}, +\d+ \w{3} (20[2-9]\d) [^\n]*\n`, "\n${1}Date: added\n"},
	} {
		s = regexp.MustCompile(added.pattern).ReplaceAllString(s, added.with)
	}
	return s[1:]
}
