package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// TestReloadOfEverything: a reload changes certificates, users, networks, limits, the upstream and the
// rules for new connections; one that is there goes on as it was.
func TestReloadOfEverything(t *testing.T) {
	dir := t.TempDir()
	first, second := smtptest.New(t, smtptest.Options{}), smtptest.New(t, smtptest.Options{})
	old, renewed := smtptest.NewCertificate(t, "relay.test"), smtptest.NewCertificate(t, "relay.test")
	files := &door{t: t, dir: dir}
	files.write("old.crt", string(old.CertPEM))
	files.write("old.key", string(old.KeyPEM))
	files.write("new.crt", string(renewed.CertPEM))
	files.write("new.key", string(renewed.KeyPEM))
	files.write("users", userLine(t, "app", "before"))
	files.write("rules.toml",
		"[[rule]]\nid = \"acme-held\"\nreason = \"policy_rejected\"\nweight = \"certain\"\nany = [\"held "+
			"by acme gateway\"]\nexample = [\"550 5.7.1 held by ACME gateway\"]\n")
	listen := "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.2:0\"\ntls = " +
		"\"implicit\"\n"
	access := "[access]\nusers_file = \"" + dir + "/users\"\n"
	cert := func(name string) string {
		return fmt.Sprintf("[tls]\ncert_file = %q\nkey_file = %q\n", dir+"/"+name+".crt", dir+"/"+name+".key")
	}
	d, err := openDoor(t, dir, plainDoor(dir, first.URL())+listen+access+cert("old"))
	if err != nil {
		t.Fatal(err)
	}
	there := d.visit(0, "")
	there.say("", "220")
	there.say("EHLO client.test", "250")
	there.mail("before")
	arrives(t, first, 1)

	files.write("users", userLine(t, "app", "after"))
	changed := plainDoor(dir, second.URL()) + listen + access + cert("new") +
		"[smtpd]\nmax_message_size = \"64kB\"\n[diagnose]\nrules_file = \"" + dir +
		"/rules.toml\"\n[[client]]\nname = \"c\"\nnetworks = [\"10.0.0.0/8\"]\n"
	d.mustReload(changed)
	there.mail("from where it was allowed")
	arrives(t, second, 1)
	check := func() {
		t.Helper()
		v := d.visit(0, "")
		v.say("", "220")
		v.say("EHLO client.test", "250")
		v.say("MAIL FROM:<app@client.test>", "530")
		v = v.secure(trusting(renewed))
		if got := v.say("EHLO client.test", "250"); !strings.Contains(got, "SIZE 64000") {
			t.Errorf("%q", got)
		}
		v.say(plainAuth("app", "after"), "235")
		before := len(second.Messages())
		v.mail("by a user")
		arrives(t, second, before+1)
		implicit := d.visit(1, "")
		if err := tls.Client(implicit.Conn, trusting(renewed)).Handshake(); err != nil {
			t.Error(err)
		}
		reply := diagnose.ParseReply("550 5.7.1 held by ACME gateway")
		got := d.app.engine.Load().Diagnose(diagnose.Symptom{Reply: reply})
		if got.Rule != "acme-held" {
			t.Errorf("rule %q", got.Rule)
		}
	}
	check()
	late := d.visit(0, "")
	late.say("", "220")
	late.say("EHLO client.test", "250")
	late = late.secure(trusting(renewed))
	late.say("EHLO client.test", "250")
	late.say(plainAuth("app", "before"), "535")

	// Each of these is wrong in one thing, and would change others: none of it is taken.
	open := strings.Replace(changed, "10.0.0.0/8", "0.0.0.0/0", 1)
	for _, wrong := range []string{
		plainDoor(dir, first.URL()) + "nonsense",
		plainDoor(dir, first.URL()) + listen + access + "[tls]\ncert_file = \"" + dir +
			"/users\"\nkey_file = \"" + dir + "/users\"\n",
		// there is a listener that needs a certificate
		plainDoor(dir, first.URL()) + "[[listen]]\naddress = \"127.0.0.1:2525\"\n",
		strings.Replace(open, "127.0.0.1:0", "0.0.0.0:0", 1) + "\n",
		strings.Replace(changed, "rules.toml", "users", 1),
	} {
		if err := d.reload(wrong); err == nil {
			t.Errorf("taken: %s", wrong)
		}
		check()
	}
	if got := len(first.Messages()); got != 1 {
		t.Errorf("%d messages at the old upstream", got)
	}
	d.mustReload(strings.Replace(changed, "127.0.0.1:0", "127.0.0.1:2599", 1))
	if !strings.Contains(d.logged.String(), "a change of [listen] takes effect at the next start") {
		t.Errorf("not warned of: %s", d.logged.String())
	}
	check()
}

// trusting is a client's configuration that takes id alone.
func trusting(id *smtptest.Identity) *tls.Config {
	c := id.Client()
	c.ServerName = "relay.test"
	return c
}

// arrives waits until n messages have come to an upstream.
func arrives(t *testing.T, upstream *smtptest.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := upstream.Wait(ctx, n); err != nil {
		t.Fatalf("%d of %d messages: %v", len(upstream.Messages()), n, err)
	}
}

// TestRenewedCertificate: files that change are read again without a reload, and broken ones leave the old
// certificate in force.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	files, logged := &door{t: t, dir: dir}, &smtptest.Buffer{}
	put := func(id *smtptest.Identity) {
		files.write("crt", string(id.CertPEM))
		files.write("key", string(id.KeyPEM))
	}
	old, renewed := smtptest.NewCertificate(t, "relay.test"), smtptest.NewCertificate(t, "relay.test")
	put(old)
	c, err := newCertificate(&config.TLS{CertFile: dir + "/crt", KeyFile: dir + "/key", MinVersion: "1.3"},
		slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serves := func(id *smtptest.Identity) {
		t.Helper()
		c.looked = time.Time{} // a second is over
		conf := c.current()
		if !bytes.Equal(conf.Certificates[0].Certificate[0], id.Leaf.Certificate[0]) ||
			conf.MinVersion != tls.VersionTLS13 {
			t.Error("another certificate is in force")
		}
	}
	serves(old)
	put(renewed)
	serves(renewed)
	files.write("crt", "no certificate")
	serves(renewed)
	if !strings.Contains(logged.String(), "the old one stays in force") {
		t.Errorf("%s", logged.String())
	}
	put(old)
	serves(old)
}
