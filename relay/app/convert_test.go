package app

import (
	"bufio"
	"bytes"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay/smtptest"
)

// withoutEightBit is the reply to EHLO of a server that takes no 8-bit content.
func withoutEightBit(c smtptest.Command) smtptest.Action {
	if strings.HasPrefix(c.Line, "EHLO") {
		return smtptest.Action{Bytes: []byte("250-old.test\r\n250-PIPELINING\r\n250 SIZE 100000000\r\n")}
	}
	return smtptest.Action{}
}

// TestConvertedForOldServers: 8-bit mail goes to a server without 8BITMIME as quoted-printable, the first
// mail of all included; signed mail, which must not change, is refused with its diagnosis.
func TestConvertedForOldServers(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Script: withoutEightBit})
	text := strings.Repeat("Gr\xc3\xbc\xc3\x9fe aus K\xc3\xb6ln\r\n", 3000)
	sendContent(t, r.addr, "From: J\xc3\xb6rg <app@client.test>\r\nSubject: caf\xc3\xa9\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: 8bit\r\n\r\n"+text)
	r.arrivals(1)
	got := r.upstream.Messages()[0].Content
	if i := bytes.IndexFunc(got, func(r rune) bool { return r >= 0x80 }); i >= 0 {
		t.Errorf("8-bit at %d of what arrived", i)
	}
	m, err := mail.ReadMessage(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || string(body) != text ||
		m.Header.Get("Content-Transfer-Encoding") != "quoted-printable" ||
		m.Header.Get("Subject") != "=?utf-8?b?Y2Fmw6k=?=" {
		t.Errorf("%v, header %v, %d bytes of %d", err, m.Header, len(body), len(text))
	}
	smtptest.WaitFor(t, "the log to say so", func() bool {
		log, err := os.ReadFile(r.log)
		return err == nil && strings.Contains(string(log), `"event":"relayed"`) &&
			strings.Contains(string(log), `"changed":["converted to 7bit"]`)
	})
	sendContent(t, r.addr, "From: a@client.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\ncaf\xc3\xa9\r\n--b--\r\n")
	r.arrivals(2)
	bounce := string(r.upstream.Messages()[1].Content)
	if !strings.Contains(bounce, "needs 8BITMIME, which the server does not offer") {
		t.Errorf("it is no bounce that says why:\n%s", bounce)
	}
}

// TestLongLinesAreEncoded: lines that no server has to take leave in an encoding, if that is configured.
func TestLongLinesAreEncoded(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{},
		config.Flag{Name: "k", Key: "content.wrap_long_lines", Value: "true"})
	line := strings.Repeat("0123456789", 500)
	sendContent(t, r.addr, "From: a@client.test\r\nSubject: x\r\n\r\n"+line+"\r\n")
	r.arrivals(1)
	got := r.upstream.Messages()[0].Content
	for line := range bytes.Lines(got) {
		if len(line) > 1000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil || string(body) != line+"\r\n" {
		t.Errorf("%v: %d bytes", err, len(body))
	}
}

// TestSMTPUTF8ForOldServers: mail with SMTPUTF8 goes to a server without it as far as that is possible, which
// is wherever local parts are ASCII. Others are refused at once, or where only the header has one, with the
// diagnosis.
func TestSMTPUTF8ForOldServers(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{Without: []string{"SMTPUTF8"}})
	for n, extension := range []string{" SMTPUTF8", " SMTPUTF8 BODY=8BITMIME"} { // unknown, then known
		c := say(t, r.addr, "EHLO app.test", "MAIL FROM:<app@bücher.test>"+extension,
			"RCPT TO:<joe@müller.test>", "DATA", "From: Jörg <app@bücher.test>\r\nTo: joe@müller.test\r\n"+
				"Subject: grüße\r\n\r\ngrüße\r\n.")
		if !strings.HasPrefix(c, "250 ") {
			t.Fatal(c)
		}
		r.arrivals(n + 1)
		got := r.upstream.Messages()[n]
		if got.From != "app@xn--bcher-kva.test" || got.To[0].Address != "joe@xn--mller-kva.test" {
			t.Errorf("from %s to %s", got.From, got.To[0].Address)
		}
		m, err := mail.ReadMessage(bytes.NewReader(got.Content))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || string(body) != "grüße\r\n" ||
			m.Header.Get("From") != "=?utf-8?b?SsO2cmc=?= <app@xn--bcher-kva.test>" ||
			m.Header.Get("Subject") != "=?utf-8?b?Z3LDvMOfZQ==?=" {
			t.Errorf("%v, header %v, body %q", err, m.Header, body)
		}
	}
	for _, from := range []string{"jörg@b.test", "a@b.test"} {
		c := say(t, r.addr, "EHLO app.test", "MAIL FROM:<"+from+"> SMTPUTF8", "RCPT TO:<jörg@b.test>")
		if !strings.HasPrefix(c, "553 5.6.7 ") {
			t.Errorf("%s: %s", from, c)
		}
	}
	say(t, r.addr, "EHLO app.test", "MAIL FROM:<app@client.test> SMTPUTF8", "RCPT TO:<joe@x.test>", "DATA",
		"From: jörg@b.test\r\n\r\nx\r\n.")
	r.arrivals(3)
	if bounce := r.upstream.Messages()[2].Content; !bytes.Contains(bounce,
		[]byte("needs SMTPUTF8, which the server does not offer")) {
		t.Errorf("it is no bounce that says why:\n%s", bounce)
	}
}

// say says lines to a server and returns the last reply, or the first that refuses.
func say(t *testing.T, addr string, lines ...string) (reply string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	v := &visitor{t: t, Conn: c, r: bufio.NewReader(c)}
	v.say("", "220")
	for _, line := range lines {
		if reply = v.say(line, ""); reply[0] > '3' {
			return reply
		}
	}
	return reply
}
