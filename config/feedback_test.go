package config

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config/value"
)

// TestFeedbackOff: nothing of it is on by default, and each way in turns it on.
func TestFeedbackOff(t *testing.T) {
	file := func(text string) Source {
		return Source{File: writeFile(t, "relay.toml",
			"[upstream.default]\nhost = \"mail.example.com\"\n"+text)}
	}
	for text, on := range map[string]bool{
		"": false, "[feedback]\nremember = \"2d\"\nnotice = \"always\"\n": false,
		"[feedback]\npipe = true\n": true,
		"[[feedback.webhook]]\nprovider = \"postmark\"\ncredential = \"hook:0123456789abcdef\"\n": true,
	} {
		if c := mustLoad(t, file(text)); c.Feedback.On() != on {
			t.Errorf("%q: on is %v, not %v", text, !on, on)
		}
	}
}

// TestWebhook: what is left out is filled in, secrets are read one a line, and nothing shows them.
func TestWebhook(t *testing.T) {
	keys := writeFile(t, "keys", "hunter2-new\nhunter2-old\r\n\n")
	file := writeFile(t, "relay.toml", `
[upstream.default]
host = "mail.example.com"
[feedback]
remember = "30d"
[[feedback.webhook]]
provider = "mailgun"
signing_key_file = "`+keys+`"
credential = "hook:hunter2,hunter2"
[[feedback.webhook]]
provider = "postmark"
name = "second"
path = "/other"
upstreams = ["default"]
credential = ["?key=hunter2hunter2", "X-Key: hunter2"]
`)
	c := mustLoad(t, Source{File: file, Env: []string{"MAILWHY_FEEDBACK_REMEMBER=20d"}})
	f := &c.Feedback
	if f.Listen != "127.0.0.1:9126" || f.Remember != 20*24*time.Hour || len(f.Webhook) != 2 {
		t.Fatalf("feedback %+v", f)
	}
	first, second := f.Webhook[0], f.Webhook[1]
	reveal := func(list []value.Secret) (out []string) {
		for _, s := range list {
			out = append(out, s.Reveal())
		}
		return out
	}
	if first.Name != "mailgun" || first.Path != "/mailgun" || second.Name != "second" ||
		second.Path != "/other" {
		t.Errorf("names and paths %s %s, %s %s", first.Name, first.Path, second.Name, second.Path)
	}
	if got := reveal(first.SigningKey); !slices.Equal(got, []string{"hunter2-new", "hunter2-old"}) {
		t.Errorf("signing keys %q", got)
	}
	if got := reveal(first.Credential); !slices.Equal(got, []string{"hook:hunter2,hunter2"}) {
		t.Errorf("a credential with a comma became %q", got)
	}
	got := reveal(second.Credential)
	if !slices.Equal(got, []string{"?key=hunter2hunter2", "X-Key: hunter2"}) {
		t.Errorf("credentials %q", got)
	}
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hunter2") || !strings.Contains(b.String(), `credential = ["(secret)"]`) {
		t.Errorf("what is printed is not as it should be:\n%s", b.String())
	}
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	if c = mustLoad(t, Source{File: file}); len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], keys) {
		t.Errorf("a file of keys that all can read: %q", c.Warnings)
	}
}

// TestFeedbackTLS: webhooks can be reached from other machines with TLS only, unless a proxy has it.
func TestFeedbackTLS(t *testing.T) {
	pem := writeFile(t, "pem", "x")
	own := "cert_file = \"" + pem + "\"\nkey_file = \"" + pem + "\"\n"
	for _, tt := range []struct {
		feedback, rest string
		ok             bool
	}{
		{"listen = \"0.0.0.0:9126\"\n", "", false},
		{"listen = \":9126\"\n", "", false},
		{"listen = \"[2001:db8::1]:9126\"\n", "", false},
		{"listen = \"hooks.example.com:9126\"\n", "", false},
		{"listen = \"[::1]:9126\"\n", "", true},
		{"listen = \"localhost:9126\"\n", "", true},
		{"listen = \":9126\"\nbehind_proxy = true\n", "", true},
		{"listen = \":9126\"\ntls = true\n", "", false},
		{"listen = \":9126\"\ntls = true\n" + own, "", true},
		{"listen = \":9126\"\ntls = true\n", "[tls]\n" + own, true},
		{own, "", false},
	} {
		_, err := Load(Source{File: writeFile(t, "relay.toml",
			"[upstream.default]\nhost = \"mail.example.com\"\n"+tt.rest+"[feedback]\n"+tt.feedback+
				"[[feedback.webhook]]\nprovider = \"postmark\"\ncredential = \"hook:0123456789abcdef\"\n")})
		if (err == nil) != tt.ok {
			t.Errorf("%q %q: %v", tt.feedback, tt.rest, err)
		}
	}
}

// TestMailbox: what is left out is filled in, and mailboxes turn feedback on.
func TestMailbox(t *testing.T) {
	secret := writeFile(t, "secret", "hunter2\n")
	c := mustLoad(t, Source{File: writeFile(t, "relay.toml", `
[upstream.default]
host = "mail.example.com"
[[feedback.mailbox]]
host = "imap.example.com"
username = "bounces@example.com"
password_file = "`+secret+`"
[[feedback.mailbox]]
maildir = "/var/mail/returned"
after = "delete"
[[feedback.mailbox]]
host = "127.0.0.1"
tls = "none"
username = "u"
password = "p"
after = "move:Done: and read"
`)})
	first, second, third := c.Feedback.Mailbox[0], c.Feedback.Mailbox[1], c.Feedback.Mailbox[2]
	if first.Name != "bounces@example.com" || first.Port != 993 || first.TLS != "implicit" ||
		first.Folder != "INBOX" || first.After != "leave" || first.Password.Reveal() != "hunter2" {
		t.Errorf("%+v", first)
	}
	if second.Name != "returned" || third.Port != 143 || third.After != "move:Done: and read" {
		t.Errorf("%+v, %+v", second, third)
	}
	if !c.Feedback.On() {
		t.Error("a mailbox does not turn feedback on")
	}
}

// TestBounceListener: one that anybody can reach makes no open relay, since it relays nothing.
func TestBounceListener(t *testing.T) {
	c := mustLoad(t, Source{File: writeFile(t, "relay.toml", `
[upstream.default]
host = "mail.example.com"
[[client]]
name = "all"
networks = ["0.0.0.0/0"]
[[listen]]
address = "127.0.0.1:2525"
[[listen]]
address = ":25"
role = "bounces"
[feedback.return_path]
address = "b@bounces.example.com"
upstreams = ["default"]
`)})
	if !c.Feedback.On() || c.Listen[0].Role != "mail" || c.Listen[1].Role != "bounces" {
		t.Errorf("feedback %v, listeners %+v", c.Feedback.On(), c.Listen)
	}
}
