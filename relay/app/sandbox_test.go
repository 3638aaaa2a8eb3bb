package app

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// waiting is what waits in the queue, by recipient.
func (r *rewriting) waiting() (list []string) {
	r.t.Helper()
	err := r.app.spool.List(r.t.Context(), relay.QueueFilter{Waiting: true}, func(m *relay.Message) bool {
		for i := range m.Recipients {
			list = append(list, m.Recipients[i].Address)
		}
		return true
	})
	if err != nil {
		r.t.Error(err)
	}
	return list
}

// sentTo are the recipients of all that arrived.
func (r *rewriting) sentTo() (list []string) {
	for _, m := range r.upstream.Messages() {
		list = append(list, to(&m)...)
	}
	return slices.Sorted(slices.Values(list))
}

const redirect = `
[sandbox]
redirect = "qa@x.test"
allow = ["@ours.test"]
`

// TestSandboxRedirects: recipients that are not allowed get nothing; one mail in their place names them.
// Bounces too go to nobody that is not allowed.
func TestSandboxRedirects(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, redirect)
	r.send("From: a@x.test\nSubject: Invoice\n\nx\n", "a@x.test", "joe@there.test", "me@ours.test",
		"ann@there.test")
	r.arrived(2)
	for _, m := range r.upstream.Messages() {
		if to(&m)[0] == "me@ours.test" {
			if text := string(m.Content); strings.Contains(text, "there.test") ||
				strings.Contains(text, "SANDBOX") {
				t.Errorf("an allowed recipient gets\n%s", m.Content)
			}
			continue
		}
		has(t, &m, "\nSubject: [SANDBOX] Invoice\n")
		has(t, &m, "X-Original-To: joe@there.test\nX-Original-To: ann@there.test\n\nx\n")
	}
	r.send("From: a@x.test\n\nx\n", "a@x.test", "550@ours.test")
	r.arrived(3)
	r.send("From: a@x.test\n\nx\n", "boss@ours.test", "550@ours.test")
	r.arrived(4)
	if got := r.sentTo(); !slices.Equal(got,
		[]string{"boss@ours.test", "me@ours.test", "qa@x.test", "qa@x.test"}) {
		t.Errorf("mail went to %q", got)
	}
	r.logs(`"to":"qa@x.test","given":["joe@there.test","ann@there.test"]`)
	r.logs(`"recipients redirected to the sandbox"]`)
	h, err := admin.NewClient(filepath.Join(r.dir, "spool", "admin.sock")).Health(t.Context())
	const notice = "SANDBOX: no mail goes to its recipients, all of it goes to qa@x.test, but for " +
		"@ours.test (sandbox.allow)"
	if err != nil || !slices.Contains(h.Notes, notice) || !strings.Contains(r.logged.String(), notice) {
		t.Errorf("health %q, %v; log %s", h.Notes, err, r.logged.String())
	}
}

// TestSandboxHoldsTheQueue: what was accepted without a sandbox does not leave while one is on, and what was
// accepted in one never goes to its recipients.
func TestSandboxHoldsTheQueue(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, "")
	r.send("From: a@x.test\n\nx\n", "a@x.test", "451-4.3.0+once@there.test", "451-4.3.0+once@ours.test")
	r.logsTimes(`"event":"deferred"`, 2)
	r.mustReload(r.conf(r.dir, redirect))
	r.retry()
	r.logs(`"reason":"kept_by_sandbox"`)
	if got := r.arrived(1); !slices.Equal(r.sentTo(), []string{"451-4.3.0+once@ours.test"}) {
		t.Errorf("%d messages to %q", len(got), r.sentTo())
	}
	if got := r.waiting(); !slices.Contains(got, "451-4.3.0+once@there.test") {
		t.Errorf("waiting: %q", got)
	}
	r.mustReload(r.conf(r.dir, strings.ReplaceAll(redirect, "qa@x.test", "451-4.3.0+once@qa.test")))
	r.send("From: a@x.test\n\nx\n", "a@x.test", "joe@there.test")
	r.logsTimes(`"event":"deferred"`, 4)
	if got := r.waiting(); !slices.Contains(got, "451-4.3.0+once@qa.test") {
		t.Errorf("waiting: %q", got)
	}
	r.mustReload(r.conf(r.dir, ""))
	r.retry()
	r.arrived(3)
	want := []string{"451-4.3.0+once@ours.test", "451-4.3.0+once@qa.test", "451-4.3.0+once@there.test"}
	if got := r.sentTo(); !slices.Equal(got, want) {
		t.Errorf("mail went to %q", got)
	}
}

// TestSandboxAndTries: mail that is tried in its session is rewritten, and stays in the sandbox.
func TestSandboxAndTries(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, redirect+`
[accept]
mode = "try"
[[rewrite]]
set_from = "b@x.test"
`)
	r.send("From: a@x.test\n\nx\n", "a@x.test", "550@there.test", "me@ours.test")
	r.send("From: a@x.test\n\nx\n", "a@x.test", "me@ours.test")
	for _, m := range r.arrived(3) {
		has(t, &m, "\nFrom: b@x.test\n")
	}
	if got := r.sentTo(); !slices.Equal(got, []string{"me@ours.test", "me@ours.test", "qa@x.test"}) {
		t.Errorf("mail went to %q", got)
	}
	v := r.visit(0, "")
	v.say("", "220")
	v.say("EHLO app.test", "250")
	v.say("MAIL FROM:<a@x.test>", "250")
	v.say("RCPT TO:<550@ours.test>", "250")
	v.say("DATA", "354")
	v.say("From: a@x.test\r\n\r\nx\r\n.", "550")
}

// TestSandboxKeeps: with a sink nothing reaches the upstream; every mail is a file, with its envelope.
func TestSandboxKeeps(t *testing.T) {
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, `
[sandbox]
sink = true
[[rewrite]]
set_sender = "app@new.test"
`)
	r.send("From: a@x.test\n\nx\n", "a@x.test", "joe@there.test", "ann@there.test")
	r.logs(`"upstream_id":"`)
	files, err := filepath.Glob(filepath.Join(r.dir, "spool", "sandbox", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const top = "Return-Path: <app@new.test>\r\nX-Original-To: joe@there.test\r\n" +
		"X-Original-To: ann@there.test\r\nReceived: "
	if !bytes.HasPrefix(b, []byte(top)) || !bytes.HasSuffix(b, []byte("\r\n\r\nx\r\n")) {
		t.Errorf("the file is\n%s", b)
	}
	r.logs(`"changed":["envelope sender rewritten","kept by the sandbox, not relayed"],` +
		`"upstream":"default","host":"sandbox","stage":"end_of_data"`)
	r.mustReload(r.conf(r.dir, "[sandbox]\nsink = true\nallow = [\"@ours.test\"]\n"))
	r.send("From: a@x.test\n\nx\n", "a@x.test", "joe@there.test", "me@ours.test")
	r.arrived(1)
	smtptest.WaitFor(t, "a second file", func() bool {
		files, _ := filepath.Glob(filepath.Join(r.dir, "spool", "sandbox", "*.eml"))
		return len(files) == 2
	})
	if got := r.sentTo(); !slices.Equal(got, []string{"me@ours.test"}) || len(r.upstream.Sessions()) != 1 {
		t.Errorf("mail went to %q in %d sessions", got, len(r.upstream.Sessions()))
	}
}

// TestArchive: a copy goes its own way, is in no header, and nobody hears when it fails.
func TestArchive(t *testing.T) {
	second := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	r := openRewriting(t, smtptest.Options{Script: smtptest.Practice()}, `
[upstream.second]
url = "`+second.URL()+`"
[[route]]
recipients = ["@archive.test"]
upstreams = ["second"]
[[route]]
upstreams = ["default"]
[[archive]]
bcc = "all@archive.test"
[[archive]]
bcc = "550-5.1.1@archive.test"
senders = ["a@x.test"]
`)
	r.send("From: a@x.test\nTo: joe@there.test\n\nx\n", "a@x.test", "joe@there.test")
	r.arrived(1)
	arrives(t, second, 1)
	copied := second.Messages()[0]
	if got := to(&copied); !slices.Equal(got, []string{"all@archive.test"}) ||
		!strings.Contains(copied.To[0].Params, "NOTIFY=NEVER") {
		t.Errorf("the copy goes to %+v", copied.To)
	}
	for _, m := range append(r.upstream.Messages(), copied) {
		if bytes.Contains(m.Content, []byte("archive")) {
			t.Errorf("the header tells of the archive:\n%s", m.Content)
		}
	}
	r.logs(`"event":"failed"`)
	r.logs(`"archive copy added"]`)
	smtptest.WaitFor(t, "an empty queue", func() bool {
		st, err := r.app.Stat(t.Context())
		return err == nil && st.Messages == 0
	})
	n := len(r.upstream.Messages()) + len(second.Messages())
	if n != 2 || strings.Contains(r.log(), `"dsn"`) {
		t.Errorf("%d messages; log\n%s", n, r.log())
	}
}
