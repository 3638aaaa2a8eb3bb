package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
	"mailwhy/relay/admin"
	"mailwhy/relay/app"
	"mailwhy/relay/smtptest"
)

// command runs mailwhy in this process and returns what it printed.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(args, strings.NewReader(""), &out, &err)
	return status, out.String(), err.String()
}

// must runs mailwhy, which must succeed, and returns its standard output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	status, out, err := command(t, args...)
	if status != 0 {
		t.Fatalf("mailwhy %s: exit status %d\n%s", strings.Join(args, " "), status, err)
	}
	return out
}

// startRelay runs a relay on the spool in dir to a practice upstream, and returns its address and what
// stops it.
func startRelay(t *testing.T, dir string) (addr string, stop func()) {
	t.Helper()
	return startRelayTo(t, dir, smtptest.Practice())
}

// startRelayTo is startRelay to an upstream that follows a script.
func startRelayTo(
	t *testing.T, dir string, script func(smtptest.Command) smtptest.Action,
) (addr string, stop func()) {
	t.Helper()
	upstream := smtptest.New(t, smtptest.Options{Script: script})
	cfg, err := config.Load(config.Source{Flags: []config.Flag{
		{Name: "--listen", Key: "listen", Value: "127.0.0.1:0"},
		{Name: "--spool", Key: "spool.dir", Value: dir},
		{Name: "--upstream", Key: "upstream", Value: "smtp://" + upstream.Addr() + "?tls=none"},
		{Name: "--retry", Key: "retry.schedule", Value: "1h"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, stop := runRelay(t, cfg)
	return r.Addrs()[0].String(), stop
}

// runRelay runs a relay until the test ends or stop is called.
func runRelay(t *testing.T, cfg *config.Config) (_ *app.Relay, stop func()) {
	t.Helper()
	r, err := newRelay(cfg, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the relay ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return r, stop
}

// listed returns the summaries that `queue list --json` prints.
func listed(t *testing.T, args ...string) (all []admin.Summary) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(
		must(t, append([]string{"queue", "list", "--json"}, args...)...)))
	for dec.More() {
		var s admin.Summary
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// TestQueueCommands follows deferred mail through the eyes of an operator, while the relay runs and after
// it ended.
func TestQueueCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	addr, stop := startRelay(t, dir)
	for _, from := range []string{"app@shop.example", "cron@shop.example"} {
		err := smtp.SendMail(addr, nil, from, []string{"452-4.2.2@customer.example", "fine@customer.example"},
			[]byte("Subject: order 7\r\nMessage-ID: <7@shop.example>\r\n\r\nhello\r\n"))
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(args ...string) []string { return append(args, "--spool", dir) }
	smtptest.WaitFor(t, "two deferrals",
		func() bool { return len(listed(t, in("--state", "deferred")...)) == 2 })
	cron := listed(t, in("--sender", "cron@shop.example", "--category", "mailbox_full")...)
	if len(cron) != 1 || cron[0].Recipients[0].Code != 452 || cron[0].Recipients[0].NextAttempt.IsZero() {
		t.Fatalf("cron's mail: %+v", cron)
	}
	id := cron[0].ID
	shown := must(t, in("queue", "show", id)...)
	for _, want := range []string{
		id, "<cron@shop.example>", "order 7", "<7@shop.example>",
		"452-4.2.2@customer.example: deferred after 1 attempt, due in ",
		"stage rcpt", "    452 4.2.2 ", "Mailbox Full: mailbox_full", "    1. ",
		"fine@customer.example: relayed", "What happened:",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("it lacks %q:\n%s", want, shown)
		}
	}

	for _, step := range []struct{ action, state, says string }{
		{"hold", "held", "held: 1 recipient"},
		{"release", "deferred", "released: 1 recipient"},
		{"retry", "deferred", ""},
	} {
		out := must(t, in("queue", step.action, id)...)
		if !strings.Contains(out, step.says) {
			t.Errorf("%s: %s", step.action, out)
		}
		smtptest.WaitFor(t, step.action,
			func() bool { return len(listed(t, in("--state", step.state, id)...)) == 1 })
	}
	smtptest.WaitFor(t, "a second attempt",
		func() bool { return listed(t, in(id)...)[0].Recipients[0].Attempts >= 2 })
	if out := must(t, in("health")...); !strings.HasPrefix(out, "healthy: 2 messages in the spool") {
		t.Errorf("health: %s", out)
	}

	if status, _, _ := command(t, in("queue", "drop")...); status != exitUsage {
		t.Errorf("drop without a filter: exit status %d", status)
	}
	must(t, in("queue", "drop", "--sender", "@SHOP.example", "--recipient", "452-4.2.2@customer.example",
		"--older-than", "0s", id)...)
	if left := listed(t, in()...); len(left) != 1 || left[0].From != "app@shop.example" {
		t.Errorf("after the drop: %+v", left)
	}
	if status, out, _ := command(t, in("queue", "drop", id)...); status != exitFailure ||
		!strings.Contains(out, "not in the queue") {
		t.Errorf("drop again: exit status %d, %s", status, out)
	}

	stop()
	left := listed(t, in()...)
	if len(left) != 1 || left[0].From != "app@shop.example" {
		t.Errorf("after the end of the relay: %+v", left)
	}
	if out := must(t, in("queue", "show", left[0].ID)...); !strings.Contains(out, "452 4.2.2") {
		t.Errorf("show after the end of the relay:\n%s", out)
	}
	if out := must(t, in("queue", "list")...); !strings.Contains(out, "1 message, 2 recipients") {
		t.Errorf("list after the end of the relay:\n%s", out)
	}
	if status, _, err := command(t, in("queue", "drop", left[0].ID)...); status != exitFailure ||
		!strings.Contains(err, "no relay is running") {
		t.Errorf("drop after the end of the relay: %d, %s", status, err)
	}
}

// TestPrintableSummary: what strangers wrote reaches the terminal without its controls.
func TestPrintableSummary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	addr, _ := startRelay(t, dir)
	err := smtp.SendMail(addr, nil, "app@shop.example", []string{"452-4.2.2@customer.example"},
		[]byte("Subject: a\x1b[31mred\r\n\r\nx\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	var id string
	smtptest.WaitFor(t, "the message", func() bool {
		if all := listed(t, "--spool", dir); len(all) == 1 {
			id = all[0].ID
		}
		return id != ""
	})
	if out := must(t, "queue", "show", id, "--spool", dir); strings.ContainsRune(out, 0x1b) ||
		!strings.Contains(out, "red") {
		t.Errorf("show: %q", out)
	}
}
