package app

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"strings"
	"testing"

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
