package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
)

// TestRehearsal is the whole loop, by nothing but what practice prints: application -> relay -> upstream as
// SES -> event signed by SNS -> a line in the delivery log and a bounce, with the category and the fix.
func TestRehearsal(t *testing.T) {
	dir := t.TempDir()
	hooks, err := smtptest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	addr, lines, end := runPractice(t, "--as", "ses", "--events", "http://"+hooks+"/ses", "--after", "10ms",
		"--events-certificate", filepath.Join(dir, "practice.pem"), "--dump", filepath.Join(dir, "mail"),
		"--speed", "5") // a loaded machine may need a second try
	pin := regexp.MustCompile(`FINGERPRINT=(\w+)`).FindStringSubmatch(lines.Text())[1]
	text := fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[dsn]\ncollect = \"0s\"\n"+
		"fallback_sender = \"bounces@shop.example\"\n[delivery_log]\nfile = %q\n"+
		"[[listen]]\naddress = \"unix:%s\"\n[upstream.default]\npreset = \"ses\"\nhost = \"127.0.0.1\"\n"+
		"port = %s\ntls = \"starttls\"\nfingerprint = [%q]\nusername = \"any\"\npassword = \"any\"\n"+
		"[feedback]\nlisten = %q\n%s", filepath.Join(dir, "spool"), filepath.Join(dir, "log"),
		filepath.Join(dir, "smtp"), addr[strings.LastIndex(addr, ":")+1:], pin, hooks,
		announcedWebhook(lines.Text, lines.Scan))
	go func() { // what is printed must be read, or practice waits
		for lines.Scan() {
			continue
		}
	}()
	file := filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	logged := &smtptest.Buffer{}
	src := loader{source: config.Source{File: file}}
	go func() { ended <- serve(ctx, src, io.Discard, logged) }()
	defer func() {
		stop()
		if err := errors.Join(<-ended, end()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(logged)
		}
	}()
	smtptest.WaitFor(t, "the relay", func() bool {
		return strings.Contains(logged.String(), "msg=listening ")
	})
	if !strings.Contains(logged.String(), "FOR A REHEARSAL ONLY") {
		t.Error("the relay believes practice, and does not say so")
	}
	c := dialDoor(t, filepath.Join(dir, "smtp"))
	err = errors.Join(c.Mail("app@shop.example"), c.Rcpt("late-overquota@any.test"))
	w, dataErr := c.Data()
	if err = errors.Join(err, dataErr); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "Message-ID: <1@shop.example>\r\n\r\nx\r\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	checkBounced(t, filepath.Join(dir, "log"))
	smtptest.WaitFor(t, "the bounce", func() bool { return bounceIn(t, filepath.Join(dir, "mail")) })
}

// announcedWebhook is the part of a configuration that practice prints.
func announcedWebhook(text func() string, scan func() bool) string {
	var b strings.Builder
	for scan() && !strings.HasPrefix(text(), "  [[") {
		continue
	}
	for ; text() != ""; scan() {
		b.WriteString(strings.TrimSpace(text()) + "\n")
	}
	return b.String()
}

// checkBounced waits for the line of what came back, and looks at it.
func checkBounced(t *testing.T, log string) {
	t.Helper()
	var e record.Event
	smtptest.WaitFor(t, "the line in the log", func() bool {
		b, err := os.ReadFile(log)
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(b)) {
			if l, err := record.Parse([]byte(line)); err == nil && l.Kind == relay.EventBounced {
				e = l
				return true
			}
		}
		return false
	})
	if e.Provider != "ses" || e.To != "late-overquota@any.test" || e.Diagnosis == nil ||
		e.Diagnosis.Category != "Mailbox Full" || len(e.Diagnosis.Fix) == 0 ||
		!strings.HasPrefix(e.Reply, "552") || time.Since(e.ReportedAt) > time.Hour {
		t.Errorf("%+v", e)
	}
}

// bounceIn reports whether a bounce that names category and recipient lies in a directory.
func bounceIn(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		b, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(b), "X-Mailwhy-Category: Mailbox Full\r\n") &&
			strings.Contains(string(b), "Final-Recipient: rfc822; late-overquota@any.test\r\n")
	})
}
