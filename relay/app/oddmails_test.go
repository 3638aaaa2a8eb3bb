package app

import (
	"slices"
	"strings"
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
func oddMails() []odd {
	return slices.Concat(oddStructures(), oddTexts(), oddFields(), oddNames(), oddAddresses(), oddLists(),
		oddEnvelopes())
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

// oddTexts are what programs print, sent as it is; {added} stands for the fields that are added, and an empty
// line behind them.
func oddTexts() (all []odd) {
	for name, texts := range map[string][2]string{
		"a time of day":      {"10:30 backup failed\nmore\n", "10:30 backup failed\n{added}more\n"},
		"a time in brackets": {"[10:00:00] disk full\nmore\n", "[10:00:00] disk full\n{added}more\n"},
		"a stack trace": {"Error: x\n at y\n\tat z\n\nmore\n",
			"Error: x\n at y\n\tat z\n{added}more\n"},
		"HTML": {"<html>\n<a href=\"http://x.test\">\n",
			"{added}<html>\n<a href=\"http://x.test\">\n"},
		"a PGP block": {"-----BEGIN PGP-----\nVersion: x\n\ny\n",
			"{added}-----BEGIN PGP-----\nVersion: x\n\ny\n"},
		"escape sequences":  {"\x1b[31mred\x1b[0m\nmore\n", "{added}\x1b[31mred\x1b[0m\nmore\n"},
		"a byte order mark": {"\xef\xbb\xbfSubject: s\n\nx\n", "{added}\xef\xbb\xbfSubject: s\n\nx\n"},
		"a separator first": {"----\nSubject: s\n\nx\n", "{added}----\nSubject: s\n\nx\n"},
		"Subject, then text": {"Subject: s\nDisk full\n\nmore\n",
			"Subject: s\n{added}Disk full\n\nmore\n"},
		"empty lines first": {"\n\nSubject: s\n", "{added}\nSubject: s\n"},
		"a dot":             {".\n", "{added}.\n"},
		"a blank":           {" \n", "{added} \n"},
		"From alone":        {"From\nx\n", "{added}From\nx\n"},
		"from in small letters": {"from root Sat\nSubject: s\n\nx\n",
			"{added}from root Sat\nSubject: s\n\nx\n"},
		"a reply's quote":    {"> From x\nSubject: s\n\nx\n", "{added}> From x\nSubject: s\n\nx\n"},
		"an mbox line alone": {"From root\n\nx\n", "X-Mailbox-Line: From root\n{added}x\n"},
		"From and a blank": {"From \nSubject: s\n\nx\n",
			"X-Mailbox-Line: From \nSubject: s\n{added}x\n"},
	} {
		all = append(all, odd{name: name, content: texts[0], want: strings.Replace(texts[1], "{added}",
			oddAll+"\n", 1)})
	}
	return all
}

// oddNames have fields with odd names, or odd values of those that are dropped or added.
func oddNames() (all []odd) {
	for name, fields := range map[string][2]string{
		"TAB before a colon":       {"Subject\t: s\n", "Subject: s\n"},
		"blanks around a colon":    {"Subject  :\n\ts\n", "Subject:\n\ts\n"},
		"nothing behind a colon":   {"Subject:s\nX:\n", "Subject:s\nX:\n"},
		"an empty Bcc":             {"Bcc:\n", ""},
		"Bcc that begins folded":   {"Bcc:\n joe@x.test\n", ""},
		"Bcc with a blank, folded": {"Bcc : joe\n\t, bob\nX: y\n", "X: y\n"},
		"Return-Path, empty":       {"return-path:\n", ""},
		"Content-length":           {"Content-length: abc\n", ""},
		"fields like those": {"X-Bcc: joe\nLines: 5\nStatus: RO\n",
			"X-Bcc: joe\nLines: 5\nStatus: RO\n"},
		"encoded words, folded": {"Subject: =?utf-8?q?x?=\n =?utf-8?q?y?=\n",
			"Subject: =?utf-8?q?x?=\n =?utf-8?q?y?=\n"},
		"blanks at the end of lines": {"Subject: s \n\tmore\t\nX: y  \n",
			"Subject: s \n\tmore\t\nX: y  \n"},
	} {
		all = append(all, odd{name: name, content: oddHead + fields[0] + "\nbody\n",
			want: oddHead + fields[1] + "\nbody\n"})
	}
	for _, id := range []string{"MESSAGE-ID:\n <x@y.test>\n", "Message-Id:<x@y.test>\n", "Message-ID: x\n",
		"Message-ID: (none)\n"} {
		content := oddFrom + oddDate + id + "\nbody\n"
		all = append(all, odd{name: id, content: content, want: content})
	}
	return append(all, odd{name: "Message-ID: < >", content: oddFrom + oddDate + "Message-ID: < >\n\nbody\n",
		want: oddFrom + oddDate + "Message-ID: added\n\nbody\n", postfix: oddFrom + oddDate +
			"Message-ID: < >\n\nbody\n", why: "it counts as empty"})
}

// oddLists are address lists that end, are separated or nest in odd ways.
func oddLists() (all []odd) {
	for in, out := range map[string]string{
		"To: joe;":                      "To: joe@relay.test;",
		"To: <joe>, , <bob>":            "To: <joe@relay.test>, , <bob@relay.test>",
		"To: joe, ":                     "To: joe@relay.test, ",
		"To: Joe S <joe>, \"S, B\" <b>": "To: Joe S <joe@relay.test>, \"S, B\" <b@relay.test>",
		"To: \"joe\\\" x\" <joe>":       "To: \"joe\\\" x\" <joe@relay.test>",
		"To: <\"joe smith\">":           "To: <\"joe smith\"@relay.test>",
		"To: 'joe'":                     "To: 'joe'@relay.test",
		"To: joe+tag, joe.smith":        "To: joe+tag@relay.test, joe.smith@relay.test",
		"To: group: ;, joe":             "To: group: ;, joe@relay.test",
		"To: \"\" <joe>":                "To: \"\" <joe@relay.test>",
		"To: joe@x.test.":               "To: joe@x.test",
		"Cc: Ann\n <ann>":               "Cc: Ann\n <ann@relay.test>",
		"Sender: root (x)":              "Sender: root@relay.test (x)",
		"To: joe@x.test (J (nested))":   "",
		"To: <root@[127.0.0.1]>":        "",
		"To: joe@x..test":               "",
		"To: joe @x.test, <a @ b.test>": "",
		"To: <<joe@x.test>>":            "",
		"To: joe <a@x.test> <b@x.test>": "",
		"To: \"\"":                      "",
		"Delivered-To: joe":             "",
	} {
		if out == "" {
			out = in
		}
		all = append(all, odd{name: in, content: oddHead + in + "\n\nbody\n",
			want: oddHead + out + "\n\nbody\n"})
	}
	return all
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
		mail("blanks in the brackets", "< a@x.test >", "<b@y.test >", "a@x.test b@y.test"),
		mail("brackets in brackets", "<<a@x.test>>", "<<b@y.test>> NOTIFY=NEVER", "a@x.test b@y.test"),
		mail("quoted, no domain", `<"joe smith">`, `<"bob smith"@x.test>`,
			`"joe smith"@relay.test "bob smith"@x.test`),
		mail("plus and apostrophe", "<joe+tag>", "<o'neil@x.test>", "joe+tag@relay.test o'neil@x.test"),
		mail("capitals in a domain", "<a@X.TEST>", "<B@X.Test>", "a@X.TEST B@X.Test"),
		mail("hosts without dots", "<root@localhost>", "<a@localhost>", "root@localhost a@localhost"),
		mail("address literals", "<a@[127.0.0.1]>", "<b@[192.0.2.1]>", "a@[127.0.0.1] b@[192.0.2.1]"),
		mail("underscores", "<a@x_y.test>", "<b@x_.test>", "a@x_y.test b@x_.test"),
		mail("the postmaster", "<a@x.test>", "<postmaster>", "a@x.test postmaster@relay.test"),
		mail("a source route", "<@h.test:a@x.test>", "<@h.test:b@y.test>", "a@x.test b@y.test"),
		{name: "the null sender", from: "<>", to: "<a@b.test>", content: oddDate + oddID + "\nbody\n",
			envelope: " a@b.test",
			want:     oddDate + oddID + "From: MAILER-DAEMON@relay.test\n\nbody\n",
			postfix:  oddDate + oddID + "From: MAILER-DAEMON\n\nbody\n",
			why:      "an address has a domain (RFC 5322, 3.4.1)"},
		refused("no domain behind the at sign", "<a@>", "<b@x.test>", "501"),
		refused("a blank in an address", "<a b@x.test>", "<b@x.test>", "501"),
		refused("two dots in a domain", "<a@x..test>", "<b@x.test>", "501"),
		refused("a hyphen before a domain", "<a@-x.test>", "<b@x.test>", "501"),
		refused("a comma in an address", "<a,b@x.test>", "<b@x.test>", "501"),
		refused("a recipient that is empty", "<a@x.test>", "<>", "501"),
		refused("no closing bracket", "<a@x.test>", "<b@x.test", "501"),
		stricter(refused("a name before the address", "<a@x.test>", "Joe <b@x.test>", "501"), "555",
			"501 is for the syntax of an argument (RFC 5321, 4.2.2)"),
		stricter(refused("two at signs", "<a@b@x.test>", "<b@x.test>", "501"), oddHead+"\nbody\n",
			"a smarthost may send it on to the first domain"),
	}
}
