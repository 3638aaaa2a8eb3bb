package app

import (
	"cmp"
	"fmt"
	"net/smtp"
	"os"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay/record"
	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/postfix"
)

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
	if n := len(oddMails()); n != 144 {
		t.Errorf("docs/content.md says 144 odd mails, there are %d", n)
	}
	checkChanges(t, dir+"/log")
}

// TestLongHeader: a header that could not be signed later is refused; one just shorter leaves signed.
func TestLongHeader(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	dir := t.TempDir()
	_, key, err := sign.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	(&door{t: t, dir: dir}).write("key", string(key))
	d, err := openDoor(t, dir, plainDoor(dir, upstream.URL())+"\n[[listen]]\naddress = \"127.0.0.1:0\"\n"+
		"[[dkim]]\ndomain = \"shop.example\"\nselector = \"s\"\nkey_file = \"key\"\n")
	if err != nil {
		t.Fatal(err)
	}
	const field = "X-Filler: 78901234567890123456789012345678901234567890123456789012345678\r\n"
	for most, want := range map[int]string{950 << 10: "", 970 << 10: "5.3.4 The header"} {
		err := smtp.SendMail(d.app.Addrs()[0].String(), nil, "app@shop.example", []string{"joe@x.test"},
			[]byte("From: app@shop.example\r\n"+strings.Repeat(field, most/len(field))+"\r\nhello\r\n"))
		if (err == nil) != (want == "") || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("a header of %d bytes: %v", most, err)
		}
	}
	smtptest.WaitFor(t, "the signed one", func() bool { return len(upstream.Messages()) == 1 })
	if m := upstream.Messages()[0]; !strings.Contains(string(m.Content[:2000]), "DKIM-Signature:") {
		t.Errorf("it leaves without a signature: %s", m.Content[:2000])
	}
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
