package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
)

// TestMailIsSigned: what leaves carries the signature of the domain in its From field, bounces of our own
// too, and a reload changes which domains sign.
func TestMailIsSigned(t *testing.T) {
	dir := t.TempDir()
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	zone := map[string]string{}
	key := func(domain string) string {
		signer, file, err := sign.Generate("ed25519")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, domain+".pem")
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if zone["s1._domainkey."+domain], err = sign.Record(signer); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("[[dkim]]\ndomain = %q\nselector = \"s1\"\nkey_file = %q\n", domain, name)
	}
	conf := fmt.Sprintf(`hostname = "relay.test"
[[listen]]
address = "127.0.0.1:0"
[spool]
dir = %q
[upstream.default]
url = %q
[delivery_log]
file = %q
[dsn]
collect = "0s"
`, filepath.Join(dir, "spool"), upstream.URL(), filepath.Join(dir, "log"))
	d, err := openDoor(t, dir, conf+key("shop.test")+key("relay.test"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(from, to string) {
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO app.test", "250")
		v.say("MAIL FROM:<"+from+">", "250")
		v.say("RCPT TO:<"+to+">", "250")
		v.say("DATA", "354")
		v.say("From: "+from+"\r\nSubject: x\r\n\r\n.. dots\r\n.", "250")
		v.say("QUIT", "221")
	}
	signed := func(n int) []string {
		t.Helper()
		arrives(t, upstream, n)
		content := upstream.Messages()[n-1].Content
		vs, err := dkim.VerifyWithOptions(bytes.NewReader(content), &dkim.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) {
				if txt, ok := zone[strings.TrimSuffix(name, ".")]; ok {
					return []string{txt}, nil
				}
				return nil, errors.New("there is no " + name)
			}})
		if err != nil {
			t.Fatal(err)
		}
		var by []string
		for _, v := range vs {
			if v.Err != nil {
				t.Errorf("message %d: %v\n%s", n, v.Err, content)
			}
			by = append(by, v.Domain)
		}
		return by
	}
	send("app@shop.test", "ok@there.test")
	if by := signed(1); !slices.Equal(by, []string{"shop.test"}) {
		t.Errorf("signed by %q", by)
	}
	send("app@shop.test", "550@there.test") // refused: the bounce comes from postmaster@relay.test
	if by := signed(2); !slices.Equal(by, []string{"relay.test"}) {
		t.Errorf("the bounce is signed by %q", by)
	}
	d.mustReload(conf + key("other.test"))
	send("app@shop.test", "ok@there.test")
	if by := signed(3); by != nil {
		t.Errorf("after the reload signed by %q", by)
	}
	if err := d.reload(conf + strings.ReplaceAll(key("new.test"), "new.test.pem", "none.pem")); err == nil ||
		!strings.Contains(err.Error(), "dkim[0].key_file") {
		t.Errorf("a key that is not there: %v", err)
	}
	d.write("bad.pem", "no key")
	if err := d.reload(conf + strings.ReplaceAll(key("new.test"), "new.test.pem", "bad.pem")); err == nil ||
		!strings.Contains(err.Error(), "dkim key of new.test, selector s1") {
		t.Errorf("a key that is none: %v", err)
	}
}
