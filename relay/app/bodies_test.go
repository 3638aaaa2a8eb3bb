package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mailwhy/config"
	"mailwhy/relay/smtptest"
)

// TestBodiesArriveUnchanged sends odd contents through the whole relay and compares their SHA-256 at the
// upstream, less our own trace line. A content without a header gets an empty line first.
func TestBodiesArriveUnchanged(t *testing.T) {
	r := newDSNRelay(t, smtptest.Options{SizeLimit: 60 << 20},
		config.Flag{Name: "k", Key: "smtpd.add_missing_headers", Value: "false"},
		config.Flag{Name: "k", Key: "smtpd.max_message_size", Value: "60MB"})
	signed, verify := dkimSigned(t)
	size := 50 << 20
	if testing.Short() {
		size = 5 << 20
	}
	for name, content := range map[string]string{
		"8-bit, no header": binaryBody(),
		"998 characters":   "Subject: x\r\n\r\n" + strings.Repeat("x", 998) + "\r\n",
		"1 MiB line":       "Subject: x\r\n\r\n" + strings.Repeat("x", 1<<20-2) + "\r\n",
		"dots, no header":  ".\r\n..\r\n...\r\n.a\r\n..b\r\na.\r\n",
		"empty":            "",
		"no header":        "Just text.\r\nMore of it.\r\n",
		"header only":      "Subject: x\r\nTo: y@z.test\r\n",
		"50 MB attachment": "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("A", 76)+"\r\n", size/78),
		"DKIM-signed":      signed,
	} {
		before := len(r.upstream.Messages())
		sendContent(t, r.addr, content)
		wait, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := r.upstream.Wait(wait, before+1)
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := withoutTrace(t, r.upstream.Messages()[before].Content)
		if strings.HasSuffix(name, "no header") {
			content = "\r\n" + content
		}
		if sha256.Sum256(got) != sha256.Sum256([]byte(content)) {
			t.Errorf("%s: altered: %d bytes instead of %d, %.120q", name, len(got), len(content), got)
		}
		if name == "DKIM-signed" {
			verify(r.upstream.Messages()[before].Content)
		}
	}
}

// binaryBody has every byte but NUL, with CRLF only as line ends.
func binaryBody() string {
	var b bytes.Buffer
	for i := range 100_000 {
		if c := byte(i * 7); c != 0 && c != '\r' && c != '\n' {
			b.WriteByte(c)
		}
		if i%500 == 499 {
			b.WriteString("\r\n")
		}
	}
	return b.String() + "\r\n"
}

// sendContent sends one message as it is.
func sendContent(t *testing.T, addr, content string) {
	t.Helper()
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(line string, code int) {
		t.Helper()
		if line != "" {
			c.PrintfLine("%s", line)
		}
		if _, _, err := c.ReadResponse(code); err != nil {
			t.Fatalf("%.40s: %v", line, err)
		}
	}
	say("", 220)
	say("EHLO client.test", 250)
	say("MAIL FROM:<app@client.test> BODY=8BITMIME", 250)
	say("RCPT TO:<joe@example.test>", 250)
	say("DATA", 354)
	lines := bufio.NewReader(strings.NewReader(content))
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, ".") {
			c.W.WriteByte('.')
		}
		c.W.WriteString(line)
		if err != nil {
			break
		}
	}
	say(".", 250)
}

// withoutTrace is a content less the Received line that the relay put before it.
func withoutTrace(t *testing.T, content []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(content, []byte("Received: ")) {
		t.Fatalf("no trace: %.80q", content)
	}
	rest := content
	for first := true; first || len(rest) > 0 && (rest[0] == '\t' || rest[0] == ' '); first = false {
		i := bytes.IndexByte(rest, '\n')
		rest = rest[i+1:]
	}
	return rest
}

// dkimSigned is a signed message, and a check that its signature still holds.
func dkimSigned(t *testing.T) (signed string, verify func([]byte)) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	text := "From: a@client.test\r\nTo: b@example.test\r\nSubject: signed\r\n\r\nHello,  world.\r\n..\r\n\r\n"
	err = dkim.Sign(&b, strings.NewReader(text),
		&dkim.SignOptions{Domain: "client.test", Selector: "s", Signer: private})
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), func(content []byte) {
		lookup := func(string) ([]string, error) {
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
		}
		found, err := dkim.VerifyWithOptions(bytes.NewReader(content), &dkim.VerifyOptions{LookupTXT: lookup})
		if err != nil || len(found) != 1 || found[0].Err != nil {
			t.Errorf("DKIM: %v %+v", err, found)
		}
	}
}
