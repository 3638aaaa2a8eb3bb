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

	"mailwhy/config"
	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/dkimpy"
)

// TestMailIsSigned: what leaves carries the signature of the domain in its From field, bounces of our own
// too, and a reload changes which domains sign.
func TestMailIsSigned(t *testing.T) {
	dir := t.TempDir()
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	zone := map[string]string{}
	key := func(domain string) string { return dkimKey(t, dir, zone, "ed25519", domain) }
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
	const file = "ed25519new.test.pem"
	if err := d.reload(conf + strings.ReplaceAll(key("new.test"), file, "none.pem")); err == nil ||
		!strings.Contains(err.Error(), "dkim[0].key_file") {
		t.Errorf("a key that is not there: %v", err)
	}
	d.write("bad.pem", "no key")
	if err := d.reload(conf + strings.ReplaceAll(key("new.test"), file, "bad.pem")); err == nil ||
		!strings.Contains(err.Error(), "dkim key of new.test, selector ed25519") {
		t.Errorf("a key that is none: %v", err)
	}
}

// TestOddMailsAreSigned: whatever is odd about a mail, the signatures that it leaves with are valid for two
// implementations.
func TestOddMailsAreSigned(t *testing.T) {
	upstream, dir, zone := smtptest.New(t, smtptest.Options{}), t.TempDir(), map[string]string{}
	conf := plainDoor(dir, upstream.URL()) + "\n[[listen]]\naddress = \"127.0.0.1:0\"\n" +
		"[[client]]\nname = \"odd\"\nnetworks = [\"127.0.0.0/8\"]\nlenient = true\n"
	for _, domain := range []string{"shop.test", "relay.test", "b.test"} {
		for _, kind := range []string{"rsa", "ed25519"} {
			conf += dkimKey(t, dir, zone, kind, domain)
		}
	}
	d, err := openDoor(t, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range oddMails() {
		before := len(upstream.Messages())
		if o.send(t, d.app.Addrs()[0].String()) == "" {
			arrives(t, upstream, before+1)
		}
	}
	var mails [][]byte
	signed := 0
	lookup := func(name string) ([]string, error) { return []string{zone[name]}, nil }
	for _, m := range upstream.Messages() {
		if !bytes.Contains(m.Content, []byte("\r\n\r\n")) {
			m.Content = append(m.Content, "\r\n"...) // the verifiers want the line
		}
		mails = append(mails, m.Content)
		vs, err := dkim.VerifyWithOptions(bytes.NewReader(m.Content), &dkim.VerifyOptions{LookupTXT: lookup})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			if signed++; v.Err != nil {
				t.Errorf("%v in\n%s", v.Err, m.Content)
			}
		}
	}
	if signed < 100 {
		t.Errorf("%d signatures", signed)
	}
	for i, wrong := range dkimpy.Verify(t, zone, mails...) {
		if why := strings.Join(wrong, ""); why != "" {
			t.Errorf("dkimpy: %s in\n%s", why, mails[i])
		}
	}
}

// dkimKey makes a key, publishes it in zone, and returns its settings.
func dkimKey(t *testing.T, dir string, zone map[string]string, kind, domain string) string {
	t.Helper()
	signer, file, err := sign.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, kind+domain+".pem")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if zone[kind+"._domainkey."+domain], err = sign.Record(signer); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[[dkim]]\ndomain = %q\nselector = %q\nkey_file = %q\n", domain, kind, name)
}

// TestCheckReadsKeys: a key with which the relay does not start is a mistake that a check finds.
func TestCheckReadsKeys(t *testing.T) {
	d := &door{t: t, dir: t.TempDir()}
	_, key, err := sign.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("hostname = \"relay.example.com\"\n[spool]\ndir = %q\n[upstream.default]\n"+
		"host = \"127.0.0.1\"\n[[dkim]]\ndomain = \"shop.example\"\nselector = \"s\"\nkey_file = %q\n",
		d.dir+"/spool", d.dir+"/key")
	for text, want := range map[string]string{string(key): "", "garbage": "it is not PEM"} {
		d.write("key", text)
		d.write("relay.toml", conf)
		cfg, err := config.Load(config.Source{File: filepath.Join(d.dir, "relay.toml")})
		if err != nil {
			t.Fatal(err)
		}
		err = Check(cfg)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
