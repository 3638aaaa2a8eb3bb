package bounce

import (
	"fmt"
	"strings"
	"testing"
)

// keysOf are the keys of a report, in short.
func keysOf(r Report) string {
	var list []string
	for _, k := range r.Keys {
		list = append(list, fmt.Sprintf("%s %s %s", k.Kind, k.Value, k.Where))
	}
	return strings.Join(list, "; ")
}

// ours is a Received field of ours, as relay/smtpd writes it.
const ours = "Received: from app.example (app.example [192.0.2.1])\n\tby mail.example (mailwhy) with " +
	"ESMTPSA id 01J9ZK3V0000000000000000\n\t(TLS1.3 TLS_AES_128_GCM_SHA256)\n\tfor <bob@c.example>;\n\t" +
	"Mon, 23 Nov 2026 10:00:00 +0000\n"

// TestKeys: wherever a Received field of ours or a Message-ID stands in the body, it is found.
func TestKeys(t *testing.T) {
	const id = "queue_id 01J9ZK3V0000000000000000 "
	mail := ours + "Received: by other.example id 7\nMessage-ID: <1@shop.example>\nSubject: x\n"
	both := func(where string) string { return id + where + "; message_id 1@shop.example " + where }
	quoted := "> " + strings.ReplaceAll(strings.TrimSpace(mail), "\n", "\n> ") + "\n"
	encoded := "Content-Transfer-Encoding: base64\n\n" + base64Of(mail) + "\n"
	html := "Content-Type: text/html\n\n<p>Headers:<br>Message-ID: &lt;1@shop.example&gt;<br>x</p>\n"
	for _, c := range []struct{ name, file, want string }{
		{"a returned message", report("", statusType+"\n"+ofBob+original+mail+"\nHello\n"), both("original")},
		{"a returned header", report("", statusType+"\n"+ofBob+"--b\n"+
			"Content-Type: text/rfc822-headers\n\n"+mail), both("original")},
		{"in base64", report("", statusType+"\n"+ofBob+"--b\nContent-Type: message/rfc822\n"+encoded),
			both("original")},
		{"a text in base64", "From: MAILER-DAEMON@a.example\n" + encoded, both("body")},
		{"a text", daemon("<bob@c.example>:\n550 no\n\n" + mail), both("body")},
		{"a quotation", daemon("<bob@c.example>:\n550 no\n\n" + quoted), both("body")},
		{"behind the last part", report("Sorry", statusType+"\n"+ofBob) + mail, both("body")},
		{"in front of the first part", strings.Replace(report("Sorry", ""), "\r\n\r\n--b",
			"\r\n\r\n"+mail+"\r\n--b", 1), both("body")},
		{"a boundary that never occurs", strings.Replace(report("", statusType+"\n"+ofBob+original+mail),
			"boundary=b", "boundary=other", 1), both("body")},
		{"HTML", "From: MAILER-DAEMON@a.example\n" + html, "message_id 1@shop.example body"},
		{"quoted-printable without its mark", daemon("Message-ID: <1@sho=\np.example>\n"),
			"message_id 1@shop.example body"},
		{"an id on the next line", daemon("Message-ID:\n <1@shop.example>\n"),
			"message_id 1@shop.example body"},
		{"an id without brackets", daemon("Message-Id: 1@shop.example\n"), "message_id 1@shop.example body"},
		{"a signature's list of fields", daemon("DKIM-Signature: v=1; h=from:\n message-id:date:to; b=x\n"),
			""},
		{"a status", report("", statusType+"\nOriginal-Envelope-Id: E1\nX-Mailwhy-Queue-ID: Q1\n\n"+ofBob),
			"envelope_id E1 status; queue_id Q1 status"},
		{"an answer", "In-Reply-To: <1@shop.example>\nReferences: <0@shop.example>\n <1@shop.example>\n" +
			daemon("Sorry"),
			"message_id 1@shop.example reference; message_id 0@shop.example reference"},
		{"its own header", ours + "Message-ID: <9@a.example>\n" + daemon("Sorry"), ""},
		{"the fields of others", daemon("Received: by mailwhy.example (Postfix) id 7\n" +
			"Received: (mailwhy) id 8\n"), ""},
	} {
		for _, eol := range []string{"\n", "\r\n", "\r"} {
			file := strings.ReplaceAll(strings.ReplaceAll(c.file, "\r\n", "\n"), "\n", eol)
			if got := keysOf(Parse([]byte(file))); got != c.want {
				t.Errorf("%s, %q: %q, want %q", c.name, eol, got, c.want)
			}
		}
	}
}

// TestKeysAreBounded: no more of a kind are kept than maxKeys, the first ones.
func TestKeysAreBounded(t *testing.T) {
	r := Parse([]byte(daemon(numbered("Message-ID: <%d@a>\n", 100_000))))
	if len(r.Keys) != maxKeys || r.Keys[0].Value != "0@a" {
		t.Errorf("%d keys, the first %+v", len(r.Keys), r.Keys[0])
	}
}

// TestHostOfKey: who wrote our Received field is told, for whoever knows the names of his relays.
func TestHostOfKey(t *testing.T) {
	if r := Parse([]byte(daemon(ours))); len(r.Keys) != 1 || r.Keys[0].Host != "mail.example" {
		t.Errorf("%+v", r.Keys)
	}
}
