package bounce

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// shape makes a file of about n bytes that a careless reader would need a square of n for.
type shape struct {
	name string
	make func(n int) string
}

// repeated is s as often as n bytes hold it.
func repeated(s string, n int) string { return strings.Repeat(s, max(1, n/len(s))) }

// numbered is a format with a number in it, as often as n bytes hold it.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// report is a multipart/report with the given parts behind its text.
func report(text, rest string) string {
	return "From: MAILER-DAEMON@a.example\r\nTo: <app@shop.example>\r\n" +
		"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\n" + text + "\r\n--b\r\n" + rest +
		"\r\n--b--\r\n"
}

const (
	statusType = "Content-Type: message/delivery-status\r\n"
	ofMessage  = "Reporting-MTA: dns; a.example\r\n\r\n"
	ofBob      = "Final-Recipient: rfc822; bob@c.example\r\nAction: failed\r\nStatus: 5.2.2\r\n"
	aRecipient = "Final-Recipient: rfc822; user%d@c.example\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n"
	qmail      = "Subject: failure notice\n\nHi. This is the qmail-send program\n\n" +
		"<bob@c.example>:\n552 5.2.2 full\n\n--- Below this line is a copy\n"
	original = "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
)

// statusOf is a report with these blocks of a delivery status.
func statusOf(blocks string) string { return report("Sorry.", statusType+"\r\n"+ofMessage+blocks) }

// proseOf is a bounce that is written for a person alone.
func proseOf(text string) string {
	return "From: MAILER-DAEMON@a.example\r\nSubject: failure notice\r\n\r\n" + text
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func shapes() []shape {
	return slices.Concat(fieldShapes(), partShapes(), lineShapes(), statusShapes(), proseShapes(),
		wordShapes(), oddShapes())
}

// fieldShapes have many fields or long ones.
func fieldShapes() []shape {
	return []shape{
		{"a folded field of the header", func(n int) string {
			return "X: a\r\n" + repeated(" b\r\n", n) + "\r\n" + statusOf(ofBob)
		}},
		{"a folded field of the status", func(n int) string {
			return statusOf(ofBob + "Diagnostic-Code: smtp; 552 full\r\n" + repeated(" b\r\n", n))
		}},
		{"a folded field of the original", func(n int) string {
			return report("", statusType+"\r\n"+ofBob+original+"Subject: a\r\n"+repeated(" b\r\n", n))
		}},
		{"many fields", func(n int) string { return numbered("X-%d: a\r\n", n) + statusOf(ofBob) }},
		{"many fields of the status", func(n int) string {
			return statusOf(numbered("X-%d: a\r\n", n) + ofBob)
		}},
		{"lines that are not fields", func(n int) string { return repeated("x y\r\n", n) + statusOf(ofBob) }},
	}
}

// partShapes are made of many parts or of deeply nested ones.
func partShapes() []shape {
	return []shape{
		{"many parts", func(n int) string { return report("", repeated("--b\r\n\r\nx\r\n", n)) }},
		{"boundaries without parts", func(n int) string { return report("", repeated("--b\r\n", n)) }},
		{"nested with the same boundary", func(n int) string {
			return repeated("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", n) + ofBob
		}},
		{"nested with boundaries of their own", func(n int) string {
			return numbered("Content-Type: multipart/mixed; boundary=b%[1]d\r\n\r\n--b%[1]d\r\n", n) + ofBob
		}},
		{"boundaries that begin alike", func(n int) string {
			return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" +
				"Content-Type: multipart/mixed; boundary=bb\r\n\r\n" + numbered("--b%d\r\n", n)
		}},
		{"messages in messages", func(n int) string {
			return repeated("Content-Type: message/rfc822\r\n\r\n", n) + statusOf(ofBob)
		}},
		{"messages in base64 in messages", func(n int) string {
			s := repeated("x", n/3)
			for range 3 {
				s = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64Of(s)
			}
			return s
		}},
	}
}

// lineShapes have lines without an end, or parts that are encoded so.
func lineShapes() []shape {
	return []shape{
		{"one line of a header", func(n int) string {
			return "X: " + repeated("a", n) + "\r\n" + statusOf(ofBob)
		}},
		{"one line of a body", func(n int) string { return proseOf(repeated("a", n)) }},
		{"one line of spaces", func(n int) string { return proseOf(repeated(" ", n) + "x") }},
		{"one line of a status", func(n int) string {
			return statusOf("Diagnostic-Code: smtp; 550 " + repeated("a ", n) + "\r\n" + ofBob)
		}},
		{"base64 without line ends", func(n int) string {
			return report("", statusType+"Content-Transfer-Encoding: base64\r\n\r\n"+
				base64Of(numbered(aRecipient, n*3/4)))
		}},
		{"base64 of folded lines", func(n int) string {
			return report("", statusType+"Content-Transfer-Encoding: base64\r\n\r\n"+base64Of(ofBob+
				"Diagnostic-Code: smtp; 550 x\r\n"+repeated(" b\r\n", n*3/4)))
		}},
		{"quoted-printable without line ends", func(n int) string {
			return report("", statusType+"Content-Transfer-Encoding: quoted-printable\r\n\r\n"+
				repeated("=41", n)+"\r\n\r\n"+ofBob)
		}},
		{"quoted-printable soft breaks", func(n int) string {
			return report("", statusType+"Content-Transfer-Encoding: quoted-printable\r\n\r\nX: "+
				repeated("=\r\n", n)+"\r\n\r\n"+ofBob)
		}},
	}
}

// statusShapes report many recipients or hold many delivery statuses.
func statusShapes() []shape {
	return []shape{
		{"many recipients", func(n int) string {
			return report(numbered("user%d@c.example: 550 5.1.1 no\r\n", min(n, maxProse)), statusType+
				"\r\n"+ofMessage+numbered(aRecipient, n))
		}},
		{"many recipients of one line", func(n int) string {
			return report(numbered("user%d@c.example ", min(n, maxProse)), statusType+"\r\n"+ofMessage+
				numbered(aRecipient, n))
		}},
		{"many recipients without empty lines", func(n int) string {
			return statusOf(numbered("Final-Recipient: rfc822; u%d@c.example\r\nStatus: 5.1.1\r\n", n))
		}},
		{"recipients without a name", func(n int) string {
			return statusOf(repeated("Final-Recipient:\r\n", n))
		}},
		{"recipients behind many fields", func(n int) string {
			return statusOf(repeated("X: a\r\n", 8000) + repeated("Final-Recipient: a\r\n", n))
		}},
		{"many fields of the original and many recipients", func(n int) string {
			return report("", statusType+"\r\n"+numbered(aRecipient, n/2)+original+
				repeated("DKIM-Signature: d=a.example\r\n", n/2))
		}},
		{"many statuses and a long text", func(n int) string {
			return report(repeated("text\r\n", n), repeated("--b\r\n"+statusType+"\r\n"+ofBob, min(n,
				150*len(ofBob))))
		}},
		{"many texts like statuses", func(n int) string {
			return report("", repeated("--b\r\n\r\n"+repeated("X: a\r\n", n/100), n))
		}},
		{"a boundary that never occurs", func(n int) string {
			return "Content-Type: multipart/report; boundary=other\r\n\r\n" + repeated("--b\r\n", n) +
				"\r\n" + ofBob
		}},
	}
}

// proseShapes are bounces without a delivery status.
func proseShapes() []shape {
	return []shape{
		{"recipients in the text", func(n int) string {
			return proseOf(numbered("<user%d@c.example>:\r\n550 5.1.1 no\r\n", n))
		}},
		{"recipients without words", func(n int) string {
			return proseOf(numbered("<user%d@c.example>\r\n", n))
		}},
		{"one recipient with many words", func(n int) string {
			return proseOf("<bob@c.example>:\r\n" + repeated("word\r\n", n))
		}},
		{"transcripts of the session", func(n int) string {
			return proseOf(repeated("a word\r\n--- transcript of session\r\n", n))
		}},
		{"codes in the text", func(n int) string { return proseOf(repeated("250 ", n)) }},
		{"recipients in the header", func(n int) string {
			return "X-Failed-Recipients: " + numbered("user%d@c.example,\r\n ", n) +
				"x\r\n\r\nIt was not delivered.\r\n"
		}},
		{"tags", func(n int) string {
			return "Subject: failure notice\r\nContent-Type: text/html\r\n\r\n" + repeated("<a>", n)
		}},
		{"tags that do not end", func(n int) string {
			return "Subject: failure notice\r\nContent-Type: text/html\r\n\r\n" + repeated("<", n)
		}},
		{"entities", func(n int) string {
			return "Subject: failure notice\r\nContent-Type: text/html\r\n\r\n" + repeated("&#", n)
		}},
	}
}

// wordShapes are made for the readers of words and of keys.
func wordShapes() []shape {
	return []shape{
		{"addresses in one line", func(n int) string { return proseOf(numbered("<u%d@c.example>, ", n)) }},
		{"addresses in a refusal", func(n int) string {
			return proseOf("550 " + numbered("u%d@c.example ", n))
		}},
		{"refusals with addresses", func(n int) string {
			return proseOf(numbered("550 no u%d@c.example\r\n", n))
		}},
		{"beginnings of addresses", func(n int) string { return proseOf(repeated("<a", n)) }},
		{"domains without an end", func(n int) string { return proseOf(repeated("<a@b", n)) }},
		{"sentences", func(n int) string { return proseOf(repeated("unknown user: @ ", n)) }},
		{"fields in words", func(n int) string { return proseOf(repeated("To: a\r\n", n)) }},
		{"rules and headings", func(n int) string {
			return proseOf("<bob@c.example>:\r\nno\r\n" + repeated("--- x\r\n------\r\n", n))
		}},
		{"marks of quotations", func(n int) string { return proseOf(repeated("> ", n)) }},
		{"Message-IDs", func(n int) string { return proseOf(numbered("Message-ID: <%d@a>\r\n", n)) }},
		{"one Message-ID", func(n int) string { return proseOf("Message-ID: <" + repeated("a", n)) }},
		{"a folded Received", func(n int) string {
			return proseOf("Received: a\r\n" + repeated(" b\r\n", n))
		}},
		{"Received fields of ours", func(n int) string {
			return proseOf(numbered("Received: by a (mailwhy) with ESMTP id %d; now\r\n", n))
		}},
		{"soft line breaks", func(n int) string { return proseOf(repeated("Message-ID: <a=\r\n", n)) }},
		{"references", func(n int) string { return "References: " + numbered("<%d@a> ", n) + "\r\n\r\nx" }},
		{"reports in reports", func(n int) string {
			return repeated("From: MAILER-DAEMON@a.example\r\nContent-Type: message/rfc822\r\n\r\n", n)
		}},
		{"feedback reports", func(n int) string {
			return report("", repeated("--b\r\nContent-Type: message/feedback-report\r\n\r\n"+
				"Original-Rcpt-To: <a@c.example>\r\n", n))
		}},
		{"encoded parts", func(n int) string {
			return report("", repeated("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"+
				base64Of(repeated("Message-ID: <1@a>\n", n/100))+"\r\n", n))
		}},
	}
}

// oddShapes have parameters, encoded words and bytes that are rare.
func oddShapes() []shape {
	return []shape{
		{"encoded words", func(n int) string {
			return report("", statusType+"\r\n"+ofBob+original+"Subject: "+repeated("=?utf-8?q?a?=\r\n ",
				n)+"x\r\n\r\n")
		}},
		{"parameters", func(n int) string {
			return "Content-Type: multipart/report" + numbered("; a%d=b", n) +
				"; boundary=b\r\n\r\n--b\r\n" + ofBob
		}},
		{"parameters in pieces", func(n int) string {
			return "Content-Type: multipart/report" + numbered("; boundary*%d=b", n) + "\r\n\r\n--b\r\n" +
				ofBob
		}},
		{"CR alone", func(n int) string {
			return strings.ReplaceAll(statusOf(numbered(aRecipient, n)), "\r\n", "\r")
		}},
		{"NUL", func(n int) string { return repeated("\x00", n) }},
		{"Latin-1", func(n int) string { return proseOf(repeated("\xe4", n)) }},
	}
}

// annotation is what the tests add to a block.
func annotation(*Recipient) []byte { return bytes.Repeat([]byte("X-Mailwhy-Category: a\r\n"), 2) }
