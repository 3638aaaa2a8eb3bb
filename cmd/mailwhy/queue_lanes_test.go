package main

import (
	"encoding/json"
	"fmt"
	"net/smtp"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/smtptest"
)

// TestOperatorSeesAPausedUpstream follows an upstream whose daily quota is used up through the eyes of an
// operator.
func TestOperatorSeesAPausedUpstream(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var used atomic.Bool
	used.Store(true)
	addr, _ := startRelayTo(t, dir, func(cmd smtptest.Command) smtptest.Action {
		if used.Load() && cmd.Stage == diagnose.StageEndOfData {
			return smtptest.Action{Reply: "454 Throttling failure: Daily message quota exceeded."}
		}
		return smtptest.Action{}
	})
	for i := range 12 {
		to := []string{fmt.Sprintf("r%d@customer.example", i)}
		if err := smtp.SendMail(addr, nil, "app@shop.example", to,
			[]byte("Subject: x\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	in := func(args ...string) []string { return append(args, "--spool", dir) }
	smtptest.WaitFor(t, "the pause",
		func() bool { return strings.Contains(must(t, in("health")...), "paused") })
	has := func(what, text string, parts ...string) {
		t.Helper()
		for _, want := range parts {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", what, want, text)
			}
		}
	}
	list := must(t, in("queue", "list")...)
	has("list", list, "Upstream default is paused since ", ": quota_exceeded",
		"It said: 454 Throttling failure: D",
		"Who must act: the operator of the relay", "next try in ", "waits: upstream paused, next try in ",
		"12 messages, 12 recipients")
	if strings.Contains(list, "due now") {
		t.Errorf("a paused upstream's mail is called due:\n%s", list)
	}
	all := listed(t, in()...)
	if len(all) != 12 {
		t.Fatalf("as JSON: %+v", all)
	}
	if r := all[11].Recipients[0]; r.WaitsFor != relay.WaitsForUpstream || !r.NextTry.After(time.Now()) {
		t.Errorf("as JSON: %+v", r)
	}
	has("show", must(t, in("queue", "show", all[11].ID)...), "Upstream default is paused",
		"waits: upstream paused, next try in ")
	has("health", must(t, in("health")...), "healthy, upstream default paused: 12 messages",
		"note: upstream default is paused since ")
	var h admin.Health
	if err := json.Unmarshal([]byte(must(t, in("health", "--json")...)), &h); err != nil ||
		!h.Lanes[0].Paused {
		t.Errorf("health as JSON: %+v, %v", h, err)
	}
	has("retry", must(t, in("queue", "retry", "--all")...),
		"upstream default is still paused (quota_exceeded); 12 messages to send, next try in ")
	used.Store(false)
	has("retry", must(t, in("queue", "retry", "--all")...),
		"resumed upstream default; 1", " messages are due now")
	smtptest.WaitFor(t, "all to be relayed", func() bool { return len(listed(t, in()...)) == 0 })
	if out := must(t, in("queue", "list")...); strings.Contains(out, "Upstream") {
		t.Errorf("list of a relay that is well:\n%s", out)
	}
}

// TestOperatorSeesAPausedSender: mail of a sender whose quota is used up waits in the queue, that of others
// goes on.
func TestOperatorSeesAPausedSender(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var contents atomic.Int32
	addr, _ := startRelayTo(t, dir, func(cmd smtptest.Command) smtptest.Action {
		if cmd.Stage == diagnose.StageEndOfData && cmd.Arrived.From == "full@shop.example" {
			contents.Add(1)
			return smtptest.Action{Reply: "454 Throttling failure: Daily message quota exceeded."}
		}
		return smtptest.Action{}
	})
	send := func(from string, n int) {
		for i := range n {
			to := []string{fmt.Sprintf("r%d@customer.example", i)}
			if err := smtp.SendMail(addr, nil, from, to, []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := func(args ...string) []string { return append(args, "--spool", dir) }
	left := func(from string) int { return len(listed(t, in("--sender", from)...)) }
	send("full@shop.example", 1)
	smtptest.WaitFor(t, "the quota", func() bool { return contents.Load() > 0 })
	send("other@shop.example", 5)
	smtptest.WaitFor(t, "the others", func() bool { return left("other@shop.example") == 0 })
	send("full@shop.example", 50)
	paused := func() bool {
		return strings.Contains(must(t, in("queue", "list")...), "waits: sender paused, next try in ")
	}
	smtptest.WaitFor(t, "the sender's pause", paused)
	send("other@shop.example", 5)
	smtptest.WaitFor(t, "the others again", func() bool { return left("other@shop.example") == 0 })
	if n := contents.Load(); n > 10 || left("full@shop.example") != 51 {
		t.Errorf("%d contents were offered, %d messages are left; want few, and all", n,
			left("full@shop.example"))
	}
	out := must(t, in("queue", "list")...)
	if !strings.HasPrefix(out, "Mail of full@shop.example waits for upstream default since ") {
		t.Errorf("list:\n%s", out)
	}
}

// TestPrintLane: an upstream that is slowed, and a sender whose mail waits, are named with why and what comes
// next.
func TestPrintLane(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	d := &diagnose.Diagnosis{
		Reason: "throttled", Cause: "Too fast.", Owner: diagnose.OwnerOperator,
		Fix: []string{"Send less.", "x"},
	}
	for name, tt := range map[string]struct {
		lane relay.LaneState
		want string
	}{
		"well": {relay.LaneState{Name: "default", Limit: 3}, ""},
		"slowed": {
			relay.LaneState{
				Name: "default", Slowed: true, Since: now.Add(-time.Hour), Diagnosis: d,
				Reply: "450 s\x1blow",
				Limit: 1, Rate: 0.479519,
			},
			`Upstream default is slowed since 2026-11-28 11:00:00Z, for 1h00m: throttled
  Too fast.
  It said: 450 s?low
  Who must act: the operator of the relay. Send less.
  At most 1 connection and 0.48 messages a second until more is taken again

`},
		"a sender": {
			relay.LaneState{Name: "default", Senders: []relay.SenderPaused{
				{Sender: "s@example.com", Since: now, NextProbe: now.Add(time.Minute), Diagnosis: d},
			}},
			`Mail of s@example.com waits for upstream default since 2026-11-28 12:00:00Z: throttled
  Too fast.
  Who must act: the operator of the relay. Send less.
  Other mail goes on; next try in 1m00s (2026-11-28 12:01:00Z)

`},
		"tried now": {
			relay.LaneState{Name: "default", Paused: true, Since: now, NextProbe: now},
			`Upstream default is paused since 2026-11-28 12:00:00Z, for 0s
  Mail waits; next try now, one message at a time

`},
	} {
		var b strings.Builder
		if printLane(&b, &tt.lane, now); b.String() != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, b.String(), tt.want)
		}
	}
}
