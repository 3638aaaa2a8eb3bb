package app

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
	"mailwhy/relay/app/options"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

// refusal is what refusing makes. asked is how often the upstream was asked for somebody who is not there.
type refusal struct {
	*scene
	asked atomic.Int64
}

// refusing is a scene whose upstream says of recipients in dead.test that nobody is there; suppression are
// the keys of [suppression].
func refusing(t *testing.T, suppression string) *refusal {
	t.Helper()
	s := &refusal{scene: newScene(t, "postmark", "")}
	s.stop()
	s.conf += "[suppression]\nbreaker_recipients = 1000\n" + suppression
	s.script(func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageRcpt && strings.Contains(c.Line, "@dead.test") {
			s.asked.Add(1)
			return smtptest.Action{Reply: "550 5.1.1 User unknown"}
		}
		return smtptest.Action{}
	})
	s.start()
	return s
}

// reply submits a mail with further lines of header and returns the reply to its end, whole.
func (s *refusal) reply(header string, to ...string) string {
	s.t.Helper()
	return s.offer(0, "app@shop.test", hello(to[0], header), to...)
}

// client is the operator's.
func (s *refusal) client() *admin.Client {
	<-s.app.Ready()
	return admin.NewClient(s.load().Admin.Socket)
}

// metric wants a line of the metrics.
func (s *refusal) metric(want string) {
	s.t.Helper()
	smtptest.WaitFor(s.t, want+" in the metrics", func() bool {
		return strings.Contains(s.metrics(), want+"\n")
	})
}

// TestSuppressionObserved: by default nothing is suppressed, and what would be is counted and logged.
func TestSuppressionObserved(t *testing.T) {
	s := refusing(t, "")
	for i := range 3 {
		if r := s.reply("", "jane@dead.test"); !strings.HasPrefix(r, "250") {
			t.Fatalf("reply %q", r)
		}
		s.waitFor(relay.EventFailed, "jane@dead.test", i+1)
	}
	s.metric(`mailwhy_suppressed_total{mode="observe",result="refused"} 2`)
	s.metric(`mailwhy_suppression_entries{reason="user_unknown"} 1`)
	if n := s.asked.Load(); n != 3 {
		t.Errorf("the upstream was asked %d times, want 3", n)
	}
	observed, created := 0, 0
	for _, e := range s.lines(relay.EventSuppression, "jane@dead.test") {
		if e.State == "created" && e.Suppression.Reply == "550 5.1.1 User unknown\r\n" &&
			e.Suppression.Message != "" {
			created++
		}
		if e.State == "observed" && strings.Contains(e.Note, "the upstream refused it") && e.ID != "" {
			observed++
		}
	}
	if observed != 2 || created != 1 {
		t.Errorf("%d observed, %d created:\n%s", observed, created, s.log)
	}
}

// waitFor waits for n events of a kind about a recipient.
func (s *refusal) waitFor(kind relay.EventKind, to string, n int) {
	s.t.Helper()
	smtptest.WaitFor(s.t, fmt.Sprintf("%d %s of %s\n%s", n, kind, to, s.log), func() bool {
		return len(s.lines(kind, to)) >= n
	})
}

// TestSuppressionEnforced: the second mail to somebody who is not there is refused at its end, with the
// upstream's code and the story; a mail with other recipients goes to them, and a bounce tells of the rest;
// what the operator takes off the list is asked again.
func TestSuppressionEnforced(t *testing.T) {
	s := refusing(t, "mode = \"enforce\"\n")
	s.reply("", "jane@dead.test")
	s.line(relay.EventSuppression, "jane@dead.test")
	r := s.reply("", "jane@dead.test")
	today := time.Now().UTC().Format(time.DateOnly)
	if !strings.HasPrefix(r, "550-5.1.1 <jane@dead.test>: suppressed since "+today+
		" because of: 550 5.1.1 User unknown [Invalid Address: remove this address") {
		t.Errorf("reply %q", r)
	}
	e := s.line(relay.EventSuppressed, "jane@dead.test")
	if e.Diagnosis == nil || e.Diagnosis.Reason != "suppressed" || e.Suppression == nil ||
		e.Upstream != "default" {
		t.Errorf("event %+v", e)
	}
	refused := s.line(relay.EventRefused, "jane@dead.test")
	if refused.Diagnosis == nil || refused.Diagnosis.Reason != e.Diagnosis.Reason || refused.ID != e.ID {
		t.Errorf("event %+v", refused)
	}
	s.reply("", "bob@live.test", "jane@dead.test")
	s.taken("bob@live.test")
	s.waitFor(relay.EventSuppressed, "jane@dead.test", 2)
	smtptest.WaitFor(t, "two bounces", func() bool { return len(s.bounces()) == 2 })
	bounce := s.bounces()[0]
	if !strings.Contains(bounce, "X-Mailwhy-Reason: suppressed") {
		bounce = s.bounces()[1] // they go by several connections
	}
	for _, want := range []string{"Status: 5.1.1", "mailwhy suppress remove", "X-Mailwhy-Reason: suppressed",
		"suppressed since " + today} {
		if !strings.Contains(strings.ReplaceAll(bounce, "\r\n ", " "), want) {
			t.Errorf("no %q in the bounce:\n%s", want, bounce)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times, want once", n)
	}
	s.metric(`mailwhy_suppressed_total{mode="enforce",result="suppressed"} 2`)
	if n, err := s.client().Unsuppress(t.Context(), "Jane@DEAD.test", ""); n != 1 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
	if r := s.reply("", "jane@dead.test"); !strings.HasPrefix(r, "250") {
		t.Errorf("after its removal: %q", r)
	}
	s.waitFor(relay.EventFailed, "jane@dead.test", 2)
}

// TestSuppressionCosts: a thousand messages of many clients to a hundred people who are not there cost the
// upstream a hundred refusals.
func TestSuppressionCosts(t *testing.T) {
	s := refusing(t, "mode = \"enforce\"\n")
	s.stop()
	s.conf = strings.Replace(s.conf, "[dsn]\n", "[dsn]\nroute = \"off\"\n", 1)
	s.start()
	var clients sync.WaitGroup
	for client := range 10 {
		clients.Go(func() {
			for i := range 100 {
				s.reply("", fmt.Sprintf("a%d@dead.test", (i+10*client)%100))
			}
		})
	}
	clients.Wait()
	smtptest.WaitFor(t, "the queue to be empty", func() bool {
		h, err := s.client().Health(t.Context())
		return err == nil && h.Spool.Messages == 0
	})
	refused, suppressed := strings.Count(s.log.String(), `"event":"failed"`),
		strings.Count(s.log.String(), `"event":"suppressed"`)
	if n := s.asked.Load(); n != 100 || refused != 100 || suppressed != 900 {
		t.Errorf("the upstream was asked %d times; %d refused, %d suppressed", n, refused, suppressed)
	}
}

// TestNeedRestart: a reload asks for a start only for what it cannot change.
func TestNeedRestart(t *testing.T) {
	was, is := &config.Config{}, &config.Config{}
	was.Listen = []config.Listen{{Address: "127.0.0.1:25", AcceptMode: "queue"}}
	is.Listen = []config.Listen{{Address: "127.0.0.1:25", AcceptMode: "try"}}
	was.Suppression.Mode, is.Suppression.Mode = "off", "enforce"
	was.Log.Addresses, is.Log.Addresses = "full", "hash"
	if got := needRestart(was, is, true); len(got) > 0 {
		t.Errorf("with an open list: %v", got)
	}
	if got := needRestart(was, is, false); !slices.Equal(got, []string{"suppression"}) {
		t.Errorf("with a list that is not open: %v", got)
	}
	is.Listen[0].Address = "127.0.0.1:26"
	if got := needRestart(was, is, true); !slices.Equal(got, []string{"listen"}) {
		t.Errorf("with another address: %v", got)
	}
}

// TestSuppressionOverride: a client with the permission has its mail offered, and the header does not leave.
func TestSuppressionOverride(t *testing.T) {
	for _, mode := range []string{"queue", "try"} {
		for _, allowed := range []bool{true, false} {
			t.Run(fmt.Sprint(mode, allowed), func(t *testing.T) { overrides(t, mode, allowed) })
		}
	}
}

// overrides sends a mail that asks for it to a suppressed address.
func overrides(t *testing.T, mode string, allowed bool) {
	permission := ""
	if allowed {
		permission = "override_clients = [\"local\"]\n"
	}
	s := refusing(t, "mode = \"enforce\"\n"+permission+"[accept]\nmode = \""+mode+"\"\n")
	entries := []relay.Suppression{{Address: "bob@live.test", Note: "left the company"}}
	if _, err := s.client().Suppress(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	r := s.reply("X-Mailwhy-Suppression: ignore\r\n", "bob@live.test")
	if strings.HasPrefix(r, "250") != allowed {
		t.Errorf("allowed %v: %q", allowed, r)
	}
	if !allowed {
		return
	}
	s.taken("bob@live.test")
	if m := s.upstream.Messages()[0]; strings.Contains(string(m.Content), "Suppression") {
		t.Errorf("the header left:\n%s", m.Content)
	}
}

// TestComplaintSuppresses: what a provider tells with proof counts, and a complaint stays.
func TestComplaintSuppresses(t *testing.T) {
	s := refusing(t, "mode = \"enforce\"\n")
	mail := s.send("angry@live.test")
	s.tell(mail, events.Complained, "angry@live.test", "")
	e := s.line(relay.EventSuppression, "angry@live.test")
	if e.Suppression.Reason != "spam_complaint" || !e.Suppression.Expires.IsZero() ||
		e.Suppression.Source != "webhook" {
		t.Errorf("event %+v", e.Suppression)
	}
	mail = s.send("gone@live.test")
	s.tell(mail, events.Bounced, "gone@live.test", "550 5.1.1 User unknown")
	s.line(relay.EventSuppression, "gone@live.test")
	for _, to := range []string{"angry@live.test", "gone@live.test"} {
		r := s.reply("", to)
		if !strings.HasPrefix(r, "550-5.1.1 ") || !strings.Contains(r, "suppressed since") {
			t.Errorf("mail to %s: %q", to, r)
		}
	}
}

// TestSuppressionOutlivesARestart: the list is there after the relay stopped, and a damaged one lets mail
// pass, which the relay's health tells.
func TestSuppressionOutlivesARestart(t *testing.T) {
	s := refusing(t, "mode = \"enforce\"\n")
	s.reply("", "jane@dead.test")
	s.line(relay.EventSuppression, "jane@dead.test")
	s.stop()
	s.start()
	if r := s.reply("", "jane@dead.test"); !strings.HasPrefix(r, "550") {
		t.Errorf("after a restart: %q", r)
	}
	s.stop()
	file := options.SuppressionFile(s.load())
	if err := os.WriteFile(file, []byte("damaged, but not by much: this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if r := s.reply("", "jane@dead.test"); !strings.HasPrefix(r, "250") {
		t.Errorf("with a damaged list: %q", r)
	}
	h, err := s.client().Health(t.Context())
	if err != nil || !h.OK || !strings.Contains(strings.Join(h.Notes, " "), file+" is damaged") {
		t.Errorf("health %+v, %v", h, err)
	}
	s.metric("mailwhy_suppression_unavailable 1")
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	smtptest.WaitFor(t, "a new list", func() bool {
		st, err := s.client().SuppressionState(t.Context())
		return err == nil && st.Fault == ""
	})
}

// TestSandboxIsNotSuppressed: the address that a sandbox sends all mail to gets it, whatever it said before.
func TestSandboxIsNotSuppressed(t *testing.T) {
	l := openTwoLanes(t, smtptest.Options{})
	l.reroute(func(cfg *config.Config) {
		cfg.Suppression.Mode = "enforce"
		cfg.Sandbox.Redirect = "550-5.1.1@second.test"
		cfg.Policy = []config.Policy{{Name: "gone", Upstreams: []string{"second"}, Action: "suppress",
			For: time.Hour}}
	})
	l.send("joe@second.test")
	l.logLine(`"event":"suppression"`, `"to":"550-5.1.1@second.test"`, `"state":"created"`)
	l.send("ann@second.test")
	smtptest.WaitFor(t, "the second message to be offered", func() bool {
		return strings.Count(l.log(), `"event":"failed"`) >= 2
	})
}
