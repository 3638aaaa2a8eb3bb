package report_test

import (
	"slices"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/report"
)

// TestRoutes: where reports go.
func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		dest  report.Destination
		to    []string
		lane  string
		files int
	}{
		{"to the sender", report.Destination{}, []string{"app@example.com"}, "default", 0},
		{"another lane", report.Destination{Lane: "backup"}, []string{"app@example.com"}, "backup", 0},
		{"and to the operator", report.Destination{Operator: "ops@x"},
			[]string{"app@example.com", "ops@x"}, "default", 0},
		{"the operator is the sender", report.Destination{Operator: "App@example.com"},
			[]string{"app@example.com"}, "default", 0},
		{"to the operator alone", report.Destination{Operator: "ops@x", SkipSenders: true},
			[]string{"ops@x"}, "default", 0},
		{"nobody else to report to", report.Destination{SkipSenders: true},
			[]string{"app@example.com"}, "default", 0},
		{"a maildir", report.Destination{Maildir: "/bounces"}, nil, "", 1},
		{"off", report.Destination{Off: true}, nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, newFakeStore(), 1)
			w.o.Destination = func(*relay.Message) report.Destination { return tt.dest }
			files := map[string]int{}
			w.o.File = func(dir, id string, content []byte) error {
				files[dir+"/"+id] += len(content)
				return nil
			}
			var stored []string
			w.o.Stored = func(lane string) { stored = append(stored, lane) }
			w.accept("app@example.com", relay.Recipient{Address: "a@x"})
			w.fail("user_unknown")
			w.round(6 * time.Second)
			w.round(6 * time.Second)
			if len(files) != tt.files || len(w.store.(*fakeStore).entries) != 0 {
				t.Errorf("%d files, want %d; %d notices left", len(files), tt.files,
					len(w.store.(*fakeStore).entries))
			}
			var to []string
			for _, m := range w.stored() {
				for _, r := range m.Recipients {
					to = append(to, r.Address)
				}
				if m.Lane != tt.lane || !slices.Equal(stored, []string{tt.lane}) {
					t.Errorf("lane %q, reports %q, want %q", m.Lane, stored, tt.lane)
				}
			}
			if !slices.Equal(to, tt.to) {
				t.Errorf("to %q, want %q", to, tt.to)
			}
		})
	}
}

// TestMaildirAfterCrash: a report that was written before the crash and not consumed is written under the
// same name.
func TestMaildirAfterCrash(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	names := map[string]bool{}
	w.o.Destination = func(*relay.Message) report.Destination {
		return report.Destination{Maildir: "/bounces"}
	}
	w.o.File = func(_, id string, _ []byte) error {
		names[id] = true
		w.died.mu.Lock()
		defer w.died.mu.Unlock()
		w.died.dead = len(names) == 1 && !w.died.dead && w.odds == 1
		return nil
	}
	w.accept("app@example.com", relay.Recipient{Address: "a@x"})
	w.fail("user_unknown")
	w.restart()
	w.odds = 1
	w.round(6 * time.Second)
	if len(w.store.(*fakeStore).entries) != 1 {
		t.Fatal("the crash did not happen")
	}
	w.settleDown()
	if len(names) != 1 || len(w.store.(*fakeStore).entries) != 0 {
		t.Errorf("names %v, %d notices left", names, len(w.store.(*fakeStore).entries))
	}
}

func TestNullSenderRefused(t *testing.T) {
	fallback := "bounces@example.com"
	w := newWorld(t, newFakeStore(), 1)
	w.o.FallbackSender = func(string) string { return fallback }
	w.restart()
	m := &relay.Message{Lane: "ses", Report: true}
	at := func(stage diagnose.Stage, reply string) relay.Attempt {
		return relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(reply)}
	}
	if got := w.rep.ReversePath(m); got != "" {
		t.Fatalf("before any refusal: %q", got)
	}
	for _, a := range []relay.Attempt{
		at(diagnose.StageMail, "451 4.3.0 later\r\n"),
		at(diagnose.StageRcpt, "550 5.1.1 user unknown\r\n"),
		at(diagnose.StageEndOfData, "554 spam\r\n"),
	} {
		if w.rep.NullSenderRefused("ses", a) {
			t.Errorf("%s %q is taken for a refusal of the null sender", a.Stage, a.Reply.Raw)
		}
	}
	for lane, a := range map[string]relay.Attempt{
		"ses":     at(diagnose.StageMail, "501 Invalid MAIL FROM address provided\r\n"),
		"postfix": at(diagnose.StageRcpt, "550 5.7.1 <>: Sender address rejected: Access denied\r\n"),
	} {
		if !w.rep.NullSenderRefused(lane, a) {
			t.Errorf("%s: no fallback", lane)
		}
	}
	if got := w.rep.ReversePath(m); got != fallback {
		t.Errorf("after the refusal: %q", got)
	}
	other := &relay.Message{Lane: "ses", Envelope: relay.Envelope{From: "app@example.com"}}
	if got := w.rep.ReversePath(other); got != "app@example.com" {
		t.Errorf("another message: %q", got)
	}
	if got := w.rep.ReversePath(&relay.Message{Lane: "other", Report: true}); got != "" {
		t.Errorf("another upstream: %q", got)
	}
	w.now = w.now.Add(25 * time.Hour)
	if got := w.rep.ReversePath(m); got != "" {
		t.Errorf("a day later: %q", got)
	}
	fallback = ""
	if w.rep.NullSenderRefused("ses", at(diagnose.StageMail, "501 no\r\n")) || w.rep.ReversePath(m) != "" {
		t.Error("a fallback that is not configured")
	}
}
