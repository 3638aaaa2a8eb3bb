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

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
)

// rewriting is a relay that rewrites, before an upstream.
type rewriting struct {
	*door
	upstream *smtptest.Server
}

// openRewriting opens one. conf goes on where [upstream.default] ends.
func openRewriting(t *testing.T, o smtptest.Options, conf string) *rewriting {
	t.Helper()
	r := &rewriting{upstream: smtptest.New(t, o)}
	dir := t.TempDir()
	d, err := openDoor(t, dir, r.conf(dir, conf))
	if err != nil {
		t.Fatal(err)
	}
	r.door = d
	return r
}

func (r *rewriting) conf(dir, rest string) string {
	return fmt.Sprintf(`hostname = "relay.test"
[[listen]]
address = "127.0.0.1:0"
[spool]
dir = %q
[delivery_log]
file = %q
[dsn]
collect = "0s"
[retry]
schedule = "1h"
[upstream.default]
url = %q
%s`, filepath.Join(dir, "spool"), filepath.Join(dir, "log"), r.upstream.URL(), rest)
}

// send sends a mail, whose content has LF for its line ends.
func (r *rewriting) send(content, from string, to ...string) {
	r.t.Helper()
	v := r.visit(0, "")
	v.say("", "220")
	v.say("EHLO app.test", "250")
	v.say("MAIL FROM:<"+from+">", "250")
	for _, a := range to {
		v.say("RCPT TO:<"+a+">", "250")
	}
	v.say("DATA", "354")
	v.say(strings.ReplaceAll(content, "\n", "\r\n")+".", "250")
	v.say("QUIT", "221")
}

// arrived are the first n messages that arrived.
func (r *rewriting) arrived(n int) []smtptest.Message {
	r.t.Helper()
	arrives(r.t, r.upstream, n)
	return r.upstream.Messages()[:n]
}

// retry makes what waits due.
func (r *rewriting) retry() {
	r.t.Helper()
	client := admin.NewClient(filepath.Join(r.dir, "spool", "admin.sock"))
	if err := client.Act(r.t.Context(), admin.Retry, relay.QueueFilter{}, true,
		func(admin.Outcome) error { return nil }); err != nil {
		r.t.Fatal(err)
	}
}

// logsTimes waits until the delivery log has a text n times.
func (r *rewriting) logsTimes(text string, n int) {
	r.t.Helper()
	smtptest.WaitFor(r.t, "the delivery log to have "+text, func() bool {
		r.app.FlushLog()
		return strings.Count(r.log(), text) == n
	})
}

// to are the recipients of a message, sorted.
func to(m *smtptest.Message) (list []string) {
	for _, r := range m.To {
		list = append(list, r.Address)
	}
	return slices.Sorted(slices.Values(list))
}

// logs waits until the delivery log has a text.
func (r *rewriting) logs(text string) {
	r.t.Helper()
	smtptest.WaitFor(r.t, "the delivery log to have "+text, func() bool {
		r.app.FlushLog()
		return strings.Contains(r.log(), text)
	})
}

// has fails the test unless a content has a text.
func has(t *testing.T, m *smtptest.Message, text string) {
	t.Helper()
	if !bytes.Contains(m.Content, []byte(strings.ReplaceAll(text, "\n", "\r\n"))) {
		t.Errorf("there is no %q in\n%s", text, m.Content)
	}
}

// onlyAccount refuses what Microsoft 365 refuses: a sender or a From that is not the account's address.
func onlyAccount(account string) func(smtptest.Command) smtptest.Action {
	practice := smtptest.Practice()
	const denied = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
	return func(cmd smtptest.Command) smtptest.Action {
		switch {
		case cmd.Stage == diagnose.StageMail && cmd.Address != account && cmd.Address != "":
			return smtptest.Action{Reply: denied}
		case cmd.Stage == diagnose.StageEndOfData && !bytes.Contains(cmd.Arrived.Content,
			[]byte("<"+account+">\r\n")) && !bytes.Contains(cmd.Arrived.Content, []byte(" "+account+"\r\n")):
			return smtptest.Action{Reply: denied}
		}
		return practice(cmd)
	}
}

// TestFromToAccount: through an upstream that takes only the account's address, mail leaves with it, and a
// bounce goes to the sender that the application gave.
func TestFromToAccount(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: onlyAccount("noreply@corp.test"),
		Users: map[string]string{"noreply@corp.test": "secret"}}, `
username = "noreply@corp.test"
password = "secret"
allow_plaintext_auth = true
[[rewrite]]
preset = "from-to-account"
`)
	r.send("From: \"Alice\" <alice@corp.test>\nSubject: x\n\nFrom: body\n", "alice@corp.test",
		"joe@there.test")
	m := &r.arrived(1)[0]
	if m.From != "noreply@corp.test" {
		t.Errorf("sent by <%s>", m.From)
	}
	has(t, m, "\nFrom: \"Alice\" <noreply@corp.test>\nReply-To: \"Alice\" <alice@corp.test>\n"+
		"X-Original-From: \"Alice\" <alice@corp.test>\nSubject: x\n")
	has(t, m, "\n\nFrom: body\n")
	r.logs(`"changed":["envelope sender rewritten","from rewritten","reply-to added"]`)
	r.send("From: alice@corp.test\n\nx\n", "alice@corp.test", "550-5.1.1@there.test")
	bounce := &r.arrived(2)[1]
	if bounce.From != "" || !slices.Equal(to(bounce), []string{"alice@corp.test"}) {
		t.Errorf("the bounce goes from <%s> to %q", bounce.From, to(bounce))
	}
	has(t, bounce, " <noreply@corp.test>\n")
	has(t, bounce, "\nReply-To: ")
}

// TestRewrittenIsSigned: our signature is that of the new From's domain, over the new header, and verifies.
func TestRewrittenIsSigned(t *testing.T) {
	signer, pem, err := sign.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	record, err := sign.Record(signer)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	r := openRewriting(t, smtptest.Options{Without: []string{"8BITMIME"}}, fmt.Sprintf(`
[[dkim]]
domain = "new.test"
selector = "s"
key_file = %q
headers = ["From", "Reply-To", "X-Uml"]
[[rewrite]]
senders = ['/(.+)@old\.test/']
set_sender = "$1@new.test"
set_from = "Ann Ö. <$1@new.test>"
add_headers = ["X-Uml: schön"]
`, file))
	r.send("From: Ann <ann@old.test>\nSubject: x\n\n.. dots, schön\n", "app@old.test", "joe@there.test")
	m := &r.arrived(1)[0]
	has(t, m, "From: =?utf-8?b?QW5uIMOWLg==?= <app@new.test>\nReply-To: Ann <ann@old.test>\n")
	has(t, m, "X-Uml: =?utf-8?b?c2Now7Zu?=\n")
	vs, err := dkim.VerifyWithOptions(bytes.NewReader(m.Content), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			if name != "s._domainkey.new.test" {
				return nil, errors.New("there is no " + name)
			}
			return []string{record}, nil
		}})
	if err != nil || len(vs) != 1 || vs[0].Err != nil {
		t.Errorf("%+v, %v\n%s", vs, err, m.Content)
	}
	r.logs(`"changed":["envelope sender rewritten","from rewritten","reply-to added","x-uml added",` +
		`"converted to 7bit","dkim signed"]`)
}

// TestRuleChanges: mail that waits is sent by the rules as they are then, and recipients that a rule tells
// apart get each their own.
func TestRuleChanges(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, `
[[rewrite]]
set_from = "one@x.test"
`)
	r.send("From: a@x.test\n\nx\n", "a@x.test", "451-4.3.0+once@there.test")
	r.logs(`"event":"deferred"`)
	r.mustReload(r.conf(r.dir, `
[[rewrite]]
recipients = ["451-4.3.0+once@there.test"]
set_from = "two@x.test"
`))
	r.retry()
	has(t, &r.arrived(1)[0], "\nFrom: two@x.test\n")
	r.send("From: a@x.test\n\nx\n", "a@x.test", "b@there.test", "451-4.3.0+once@there.test", "c@there.test")
	ms := r.arrived(3)[1:]
	slices.SortFunc(ms, func(a, b smtptest.Message) int { return len(b.To) - len(a.To) })
	if got := to(&ms[0]); !slices.Equal(got, []string{"b@there.test", "c@there.test"}) {
		t.Errorf("the first go to %q", got)
	}
	has(t, &ms[0], "\nFrom: a@x.test\n")
	has(t, &ms[1], "\nFrom: two@x.test\n")
}

// TestRecipientIsRewritten: the route is that of the new recipient, and a bounce names the one that was
// given.
func TestRecipientIsRewritten(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, `
[[rewrite]]
recipients = ['/(.+)@old\.test/']
set_recipient = "$1@new.test"
`)
	r.send("From: a@x.test\n\nx\n", "a@x.test", "joe@old.test", "550@old.test")
	for _, m := range r.arrived(2) {
		if m.From != "" {
			if got := to(&m); !slices.Equal(got, []string{"joe@new.test"}) {
				t.Errorf("sent to %q", got)
			}
			continue
		}
		has(t, &m, "\nOriginal-Recipient: rfc822; 550@old.test\nFinal-Recipient: rfc822; 550@new.test\n")
	}
	r.logs(`"to":"joe@new.test","given":["joe@old.test"],`)
	r.logs(`"recipient rewritten"]`)
}
