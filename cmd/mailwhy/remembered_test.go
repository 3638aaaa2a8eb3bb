package main

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"mailwhy/relay/app"
	"mailwhy/relay/app/apptest"
	"mailwhy/relay/smtptest"
)

// TestWhatCameBack: queue show and log --id tell what came back for a message that left the queue, while the
// relay runs and when it does not, and log tells nothing twice.
func TestWhatCameBack(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	file, cfg := apptest.Configure(t, fmt.Sprintf("[feedback]\nlisten = \"127.0.0.1:0\"\n"+
		"notice = \"never\"\n"+
		"[[feedback.webhook]]\nprovider = \"postmark\"\ncredential = \"?key=0123456789abcdef\"\n"+
		"[upstream.default]\nurl = %q\n", upstream.URL()))
	logged := &smtptest.Buffer{}
	r, stop := apptest.Run(t, cfg, logged, nil)
	id := bounceLater(t, r, upstream)
	smtptest.WaitFor(t, "the bounce in the log", func() bool {
		r.FlushLog()
		return strings.Contains(logged.String(), `"event":"bounced"`)
	})
	if text := output(t, "", "health", "-c", file); !strings.Contains(text,
		"\nfeedback: 0 reports to process; 0 not matched yet, 0 kept\n") {
		t.Errorf("health: %s", text)
	}
	for range 2 {
		show := output(t, "", "queue", "show", id, "-c", file)
		for _, want := range []string{id + ", which left the queue", "joe@x.test: bounced",
			"reported by postmark (webhook, HardBounce), matched by queue_id, trust proven",
			"Invalid Address: user_unknown", "1. Check the address"} {
			if !strings.Contains(show, want) {
				t.Errorf("queue show lacks %q:\n%s", want, show)
			}
		}
		for name, in := range map[string]string{"rotated away": "", "whole": logged.String()} {
			text := output(t, in, "log", "--id", id, "-c", file)
			if n := strings.Count(text, " bounced "); n != 1 || !strings.Contains(text, "user unknown") {
				t.Errorf("%s: the bounce is told %d times:\n%s", name, n, text)
			}
		}
		if text := output(t, "", "log", "--id", id, "--event", "relayed", "-c", file); text != "" {
			t.Errorf("what was not asked for: %s", text)
		}
		stop() // and once more without the relay
	}
}

// bounceLater sends a mail through the relay and has its provider tell of a bounce. It returns the queue id.
func bounceLater(t *testing.T, r *app.Relay, upstream *smtptest.Server) (id string) {
	t.Helper()
	c, err := smtptest.Greet(t.Context(), r.Addrs()[0].String(), "shop.test", smtptest.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, line := range []string{"MAIL FROM:<app@shop.test>", "RCPT TO:<joe@x.test>"} {
		if err := c.Command("%s", line); err != nil {
			t.Fatal(err)
		}
	}
	c.Say("DATA")
	if err := c.Expect(3); err != nil {
		t.Fatal(err)
	}
	if err := c.Command("Subject: hello\r\n\r\nhello\r\n."); err != nil {
		t.Fatal(err)
	}
	tag := regexp.MustCompile(`(?m)^X-PM-Metadata-mw: (\S+)`)
	smtptest.WaitFor(t, "the mail at the upstream", func() bool {
		for _, m := range upstream.Messages() {
			if found := tag.FindSubmatch(m.Content); found != nil {
				id = string(found[1])
			}
		}
		return id != ""
	})
	event := fmt.Sprintf(`{"RecordType":"Bounce","ID":7,"Type":"HardBounce","Email":"joe@x.test",`+
		`"Metadata":{"mw":%q},"Details":"smtp;550 5.1.1 unknown","BouncedAt":"2026-11-29T12:00:00Z"}`, id)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+r.FeedbackAddr().String()+"/postmark?key=0123456789abcdef",
		"application/json", strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("answered %s", resp.Status)
	}
	return id
}

// output runs a command that is to succeed.
func output(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(args, strings.NewReader(stdin), &out, &errs); status != 0 {
		t.Errorf("%v: status %d: %s", args, status, &errs)
	}
	return out.String()
}
