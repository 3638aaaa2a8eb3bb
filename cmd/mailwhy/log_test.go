package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/redact"
)

// writeLog makes a delivery log of a few events.
func writeLog(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "delivery.log")
	l, err := deliverylog.New(deliverylog.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	full := &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full",
		Cause: "The mailbox is full.", Fix: []string{"Wait."}, Owner: diagnose.OwnerRecipient}
	for _, e := range []relay.Event{
		{Kind: relay.EventAccepted, ID: "M1", From: "app@x.test", To: "user@y.test"},
		{Kind: relay.EventDeferred, ID: "M1", From: "app@x.test", To: "user@y.test", Diagnosis: full,
			Tried: &relay.Attempt{Stage: diagnose.StageRcpt,
				Reply: diagnose.ParseReply("452 4.2.2 full\r\n")}},
		{Kind: relay.EventDSN, ID: "M2", To: "app@x.test", DSN: "M1"},
		{Kind: relay.EventRelayed, ID: "M3", Mail: "M0", From: "other@x.test", To: "User@Z.test"},
		relay.FeedbackEvent(relay.EventBounced,
			&relay.Message{ID: "M4", Mail: "M0", Envelope: relay.Envelope{From: "late@x.test"}},
			&relay.Recipient{Address: "late@y.test", Diagnosis: full, Last: &relay.Attempt{
				Stage: diagnose.StageRemote, Reply: diagnose.ParseReply("552 5.2.2 full\r\n")}},
			&relay.Feedback{Source: "webhook", Provider: "ses", Trust: relay.TrustProven}, at),
	} {
		e.Time = at
		l.Record(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// logOutput runs the command.
func logOutput(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	c := newLogCommand()
	c.SetArgs(args)
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&out)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLogCommandChooses(t *testing.T) {
	file := writeLog(t)
	for _, tt := range []struct {
		args string
		want string // the events shown
	}{
		{"", "accepted deferred dsn relayed bounced"},
		{"--id M1", "accepted deferred dsn"},
		{"--id M2,M3", "dsn relayed"},
		{"--id M4", "bounced"},
		{"--id M0", "relayed bounced"}, // both parts of the mail
		{"--from app@X.test", "accepted deferred"},
		{"--from <>", "dsn"},
		{"--to @z.test", "relayed"},
		{"--to @y.test --to app@x.test", "accepted deferred dsn bounced"},
		{"--category mailbox-full", "deferred bounced"},
		{"--category Blocked", ""},
		{"--event relayed --event DSN", "dsn relayed"},
		{"--event relayed --id M1", ""},
		{"--owner Recipient", "deferred bounced"},
		{"--owner sender-domain", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var events []string
			for line := range strings.Lines(logOutput(t, "", append(strings.Fields(tt.args), file)...)) {
				if !strings.HasPrefix(line, " ") {
					events = append(events, strings.Fields(line)[2])
				}
			}
			if got := strings.Join(events, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLogCommandExplains(t *testing.T) {
	got := logOutput(t, "", "--event", "deferred", writeLog(t))
	const want = "2026-11-23 09:00:00.000Z deferred   M1 <app@x.test> -> <user@y.test>  " +
		"452 4.2.2 full (at rcpt)\n" +
		"    reason    mailbox full: the recipient must act (Mailbox Full)\n" +
		"    cause     The mailbox is full.\n" +
		"    fix       1. Wait.\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLogCommandReadsStandardInput(t *testing.T) {
	b, err := os.ReadFile(writeLog(t))
	if err != nil {
		t.Fatal(err)
	}
	mixed := "starting\x1b\n" + strings.TrimSuffix(string(b), "\n") // no end of line, and a foreign line
	if got := logOutput(t, mixed); !strings.HasPrefix(got, "starting?\n") ||
		strings.Count(got, "2026-11-23") != 5 {
		t.Errorf("got %q", got)
	}
	if got := logOutput(t, mixed, "--json", "-"); got != string(b) {
		t.Errorf("--json changed the lines: %q", got)
	}
}

func TestLogCommandMistakes(t *testing.T) {
	for _, args := range [][]string{
		{"/does/not/exist"}, {"-f", "/does/not/exist/" + "\x00"}, {"a", "b"}, {"--event", "failled"},
		{"--category", "Mailbox Ful"}, {"--since", "yesterday"}, {"-n", "-1"}, {"-f", "--summary", "a"},
		{"--owner", "nobody at all"}, {"--format", "xml"}, {"--color", "yes"},
	} {
		c := newLogCommand()
		c.SetArgs(args)
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	for args, want := range map[string]string{
		"--category=nothing like it": "the categories are Blocked, ",
		"--category=Mailbox Ful":     `did you mean "Mailbox Full"?`,
		"--event=failled":            `did you mean "failed"?`,
		"--event=nothing like it":    "use one of accepted, ",
		"--owner=operater":           `did you mean "operator"?`,
		"--owner=nobody at all":      "use one of application, ",
		"--format=jsn":               `did you mean "json"?`,
	} {
		c := newLogCommand()
		c.SetArgs([]string{args})
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestLogCommandFindsHashes: with the spool's key an address is found in a log with hashes.
func TestLogCommandFindsHashes(t *testing.T) {
	dir := t.TempDir()
	key := []byte(strings.Repeat("k", 32))
	if err := os.WriteFile(filepath.Join(dir, "key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := redact.New(redact.Hash, key).Address("bob@y.test")
	line := `{"v":1,"time":"2026-11-23T09:00:00Z","event":"failed","id":"M1","to":"` + hash + `"}` + "\n"
	if got := logOutput(t, line, "--to", "Bob@y.test", "--spool", dir); !strings.Contains(got, hash) {
		t.Errorf("got %q", got)
	}
	if got := logOutput(t, line, "--to", "eve@y.test", "--spool", dir); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestLogCommandFormats: the other formats are made of the chosen lines.
func TestLogCommandFormats(t *testing.T) {
	file := writeLog(t)
	for format, want := range map[string]string{
		"text": "bounced    M4", "json": `"event":"bounced"`, "ecs": `"event.action":"bounced"`,
		"otel": `"eventName":"mailwhy.bounced"`,
	} {
		got := logOutput(t, "", "--format", format, "--event", "bounced", file)
		if !strings.Contains(got, want) || format != "text" && strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %s", format, got)
		}
	}
	if got := logOutput(t, "", "--color=always", "--event", "bounced", file); !strings.Contains(got,
		"\x1b[31mbounced   \x1b[0m M4") {
		t.Errorf("in colour: %q", got)
	}
}

func TestLogCommandLast(t *testing.T) {
	b, err := os.ReadFile(writeLog(t))
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"-n 1": "bounced", "-n 2": "relayed bounced", "-n 0": "",
		"-n 9":                         "accepted deferred dsn relayed bounced",
		"-n 1 --from app@x.test":       "deferred",
		"--since 2026-11-23T09:00:00Z": "accepted deferred dsn relayed bounced",
		"--since 2026-11-23T09:00:01Z": "", "--since 1m": "",
	} {
		var events []string
		for line := range strings.Lines(logOutput(t, string(b), strings.Fields(args)...)) {
			if !strings.HasPrefix(line, " ") {
				events = append(events, strings.Fields(line)[2])
			}
		}
		if got := strings.Join(events, " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

// What container tools write before each line is no obstacle.
func TestLogCommandReadsPrefixes(t *testing.T) {
	b, err := os.ReadFile(writeLog(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{
		"relay-1  | ", "[pod/app-0/mailwhy] ", "relay-1  | 2026-11-23T09:00:00.000000001Z ",
	} {
		var in strings.Builder
		for line := range strings.Lines(string(b)) {
			in.WriteString(prefix + line)
		}
		got := logOutput(t, in.String(), "--event", "deferred")
		if !strings.HasPrefix(got, prefix+"2026-11-23 09:00:00.000Z deferred   M1 ") ||
			strings.Count(got, "2026-11-23 09") != 1 {
			t.Errorf("%q: got %q", prefix, got)
		}
	}
}

func TestLogCommandSummary(t *testing.T) {
	file := writeLog(t)
	const want = "FINAL  DEFERRED  CATEGORY      REASON        MUST ACT\n" +
		"1      1         Mailbox Full  mailbox_full  recipient\n"
	if got := logOutput(t, "", "--summary", file); got != want {
		t.Errorf("got %q", got)
	}
	const object = `{"category":"Mailbox Full","reason":"mailbox_full","owner":"recipient",` +
		`"final":1,"deferred":0}`
	if got := logOutput(t, "", "--summary", "--json", "--event", "bounced", file); got != object+"\n" {
		t.Errorf("got %q", got)
	}
	if got := logOutput(t, "", "--summary", "--event", "relayed", file); got != "no refusals\n" {
		t.Errorf("got %q", got)
	}
}

// TestLogCommandSummarySuppressed: what was suppressed counts once, whoever was told.
func TestLogCommandSummarySuppressed(t *testing.T) {
	const of = `{"v":1,"time":"2026-11-23T09:00:00Z","to":"a@y.test","diagnosis":` +
		`{"category":"Invalid Address","owner":"application","reason":`
	log := of + `"suppressed"},"event":"suppressed","id":"M1"}` + "\n" +
		of + `"suppressed"},"event":"refused","id":"M1"}` + "\n" +
		of + `"suppressed"},"event":"suppressed","id":"M2"}` + "\n" +
		of + `"bad_address_syntax"},"event":"refused"}` + "\n"
	const want = "FINAL  DEFERRED  CATEGORY         REASON              MUST ACT\n" +
		"2      0         Invalid Address  suppressed          application\n" +
		"1      0         Invalid Address  bad_address_syntax  application\n"
	if got := logOutput(t, log, "--summary"); got != want {
		t.Errorf("got %q", got)
	}
}

// TestLogCommandFollows begins before there is a file, appends to it, in the middle of a line too, rotates it
// and cuts it short.
func TestLogCommandFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	add := func(s string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	r, w := io.Pipe()
	late := time.AfterFunc(20*time.Second, func() { r.CloseWithError(context.DeadlineExceeded) })
	defer late.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := newLogCommand()
	c.SetArgs([]string{"-f", file})
	c.SetOut(w)
	waits, said := io.Pipe()
	c.SetErr(said)
	go func() { done <- c.ExecuteContext(ctx) }()
	lines := bufio.NewScanner(r)
	want := func(id string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), " "+id) {
			t.Fatalf("got %q, want %s", lines.Text(), id)
		}
	}
	b := make([]byte, 200)
	if n, err := waits.Read(b); err != nil || !strings.Contains(string(b[:n]), "waiting for it") {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	add(strings.Repeat(`{"v":1,"event":"relayed","id":"0"}`+"\n", 10))
	add(`{"v":1,"event":"relayed","id":"A"}` + "\n" + `{"v":1,"event"`)
	for lines.Scan() && !strings.Contains(lines.Text(), " A") {
		if !strings.Contains(lines.Text(), " 0") {
			t.Fatalf("got %q", lines.Text())
		}
	}
	add(`:"relayed","id":"B"}` + "\n")
	want("B")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	add(`{"v":1,"event":"relayed","id":"C"}` + "\n")
	want("C")
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	add(`{"v":1,"event":"failed","id":"D"}` + "\n")
	want("D")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
