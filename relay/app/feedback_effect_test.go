package app

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

const unknown = "550 5.1.1 No such user here"

// TestFeedbackAfterRestart: what was answered 200 has its effect though the relay ended before it could have,
// and has it once, however often the relay starts.
func TestFeedbackAfterRestart(t *testing.T) {
	s := newScene(t, "sendgrid", "")
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	s.stop()
	s.open() // a relay that takes requests, and works on nothing
	var serving sync.WaitGroup
	serving.Go(func() {
		s.app.feedback.door.serve(s.app.feedback.listener, false, func() *tls.Config { return nil })
	})
	s.tell(m, events.Bounced, "joe@x.test", unknown)
	s.app.shutdownFeedback(t.Context())
	serving.Wait()
	if err := s.app.Close(); err != nil {
		t.Fatal(err)
	}
	if list := s.lines(relay.EventBounced, "joe@x.test"); len(list) != 0 {
		t.Fatalf("it had its effect already: %v", list)
	}
	for range 2 {
		s.start()
		s.line(relay.EventBounced, "joe@x.test")
		s.settled()
		s.bounce()
		s.stop()
	}
	if n, b := len(s.lines(relay.EventBounced, "joe@x.test")), len(s.bounces()); n != 1 || b != 1 {
		t.Errorf("%d lines and %d bounces, not one each", n, b)
	}
}

// TestFeedbackOvertakes: an event that comes before the upstream has answered the final dot waits for it.
func TestFeedbackOvertakes(t *testing.T) {
	s := newScene(t, "ses", "")
	arrived, release := make(chan smtptest.Message), make(chan struct{})
	s.script(func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData && c.Arrived != nil && c.Arrived.From != "" {
			arrived <- *c.Arrived
			<-release
		}
		return smtptest.Action{}
	})
	s.submit("joe@x.test")
	got := <-arrived
	s.tell(providerMail(&got), events.Bounced, "joe@x.test", unknown)
	smtptest.WaitFor(t, "the event to be looked at in vain", func() bool {
		found := false
		s.app.feedback.store.List(t.Context(), recall.Filter{}, func(r recall.Report) bool {
			found = found || r.Tries > 0
			return true
		})
		return found
	})
	if list := s.lines(relay.EventBounced, "joe@x.test"); len(list) > 0 {
		t.Fatalf("it was not waited for: %v", list)
	}
	close(release)
	if e := s.line(relay.EventBounced, "joe@x.test"); e.Trust != relay.TrustProven {
		t.Errorf("%+v", e)
	}
	s.bounce()
}

// TestFeedbackSettlesUncertain: an event for a recipient whose final dot was never answered proves that the
// upstream has the mail: it is not sent again.
func TestFeedbackSettlesUncertain(t *testing.T) {
	s := newScene(t, "ses", "")
	s.script(func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData && c.Arrived != nil && c.Arrived.From != "" {
			return smtptest.Action{Take: true, End: smtptest.EndClose}
		}
		return smtptest.Action{}
	})
	m := s.send("joe@x.test")
	s.line(relay.EventDeferred, "joe@x.test")
	s.tell(m, events.Bounced, "joe@x.test", unknown)
	s.line(relay.EventRelayed, "joe@x.test")
	s.line(relay.EventBounced, "joe@x.test")
	s.bounce()
	s.app.lanes.tryNow()
	smtptest.WaitFor(t, "the queue to be empty", func() bool {
		stat, err := s.app.Stat(t.Context())
		return err == nil && stat.Messages == 0
	})
	sent := 0
	for _, got := range s.upstream.Messages() {
		if got.From != "" {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("the mail was sent %d times", sent)
	}
}

// TestFeedbackManyTimes: whatever comes 46 times, in any order, by webhook and by mail, is told once, and the
// sender gets one bounce.
func TestFeedbackManyTimes(t *testing.T) {
	s := newScene(t, "postmark", "pipe = true\nnotice = \"always\"\ndelivered = true\n")
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	hooks := []*http.Request{
		s.request(m, events.Retrying, "joe@x.test", "451 4.7.1 Greylisted"),
		s.request(m, events.Delivered, "joe@x.test", "250 2.0.0 OK"),
		s.request(m, events.Bounced, "joe@x.test", unknown),
		s.request(m, events.Complained, "joe@x.test", ""),
	}
	report := bounceMail("app@shop.test", "joe@x.test", unknown, m.Header)
	var steps []func()
	for range 46 {
		for _, r := range hooks {
			steps = append(steps, func() {
				if code := s.post(r.Clone(t.Context())); code != http.StatusOK {
					t.Errorf("answered %d", code)
				}
			})
		}
		steps = append(steps, func() {
			if taken, err := s.app.operated().Mail(t.Context(), []byte(report)); !taken || err != nil {
				t.Errorf("taken %v, %v", taken, err)
			}
		})
	}
	rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
	s.line(relay.EventComplained, "joe@x.test")
	s.settled()
	for _, kind := range []relay.EventKind{relay.EventRetrying, relay.EventDelivered, relay.EventBounced,
		relay.EventComplained} {
		s.line(kind, "joe@x.test") // a report has its effect a moment before it is told in the log
		if list := s.lines(kind, "joe@x.test"); len(list) != 1 {
			t.Errorf("%d lines of %s", len(list), kind)
		}
	}
	s.stop() // the reporter has had its last round
	if n := len(s.bounces()); n > 1 {
		t.Errorf("%d bounces", n)
	}
}

// TestFeedbackOrder: mail may bounce after it was delivered, and what comes later than the bounce changes
// nothing.
func TestFeedbackOrder(t *testing.T) {
	s := newScene(t, "mailgun", "delivered = true\n")
	for _, kinds := range [][]events.Kind{
		{events.Delivered, events.Bounced}, {events.Bounced, events.Delivered},
	} {
		to := string(kinds[0]) + "@x.test"
		m := s.send(to)
		s.line(relay.EventRelayed, to)
		for _, kind := range kinds {
			reply := unknown
			if kind == events.Delivered {
				reply = "250 2.0.0 OK"
			}
			s.tell(m, kind, to, reply)
			s.line(relay.EventKind(kind), to)
		}
		id := s.lines(relay.EventRelayed, to)[0].ID
		list, err := s.app.operated().Remembered(t.Context(), id)
		if err != nil || len(list) != 1 || list[0].States[0] != string(feedback.StateBounced) ||
			len(list[0].Told) != 2 {
			t.Errorf("%v: %+v, %v", kinds, list, err)
		}
	}
	smtptest.WaitFor(t, "two bounces", func() bool { return len(s.bounces()) == 2 })
}

// TestFeedbackDiskFails: while nothing can be written each provider gets the code after which it tries again,
// and then its event is taken.
func TestFeedbackDiskFails(t *testing.T) {
	for _, provider := range webhook.Providers() {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, provider, "")
			m := s.send("joe@x.test")
			s.line(relay.EventRelayed, "joe@x.test")
			r := s.request(m, events.Bounced, "joe@x.test", unknown)
			if err := s.app.feedback.store.Close(); err != nil {
				t.Fatal(err)
			}
			want := http.StatusServiceUnavailable
			if provider == "brevo" {
				want = http.StatusTooManyRequests
			}
			if code := s.post(r); code != want {
				t.Errorf("answered %d, not %d", code, want)
			}
			s.stop()
			s.start()
			if code := s.post(r.Clone(t.Context())); code != http.StatusOK {
				t.Errorf("after it was repaired: %d", code)
			}
			s.line(relay.EventBounced, "joe@x.test")
		})
	}
}

// TestFeedbackDamaged: mail is relayed though the store of feedback is damaged. Its provider is told to come
// again, and is heard once the file was moved away.
func TestFeedbackDamaged(t *testing.T) {
	s := newScene(t, "postmark", "")
	s.stop()
	store := filepath.Join(s.dir, "spool", feedbackFile)
	if err := os.WriteFile(store, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	m := s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	if code := s.try(m, events.Bounced, "joe@x.test", unknown); code != http.StatusServiceUnavailable {
		t.Errorf("with a damaged store: answered %d", code)
	}
	fault := s.app.operated().Fault()
	if fault == nil || !strings.Contains(fault.Error(), "is damaged: move it") {
		t.Errorf("the fault is %v", fault)
	}
	if err := os.Rename(store, store+".damaged"); err != nil {
		t.Fatal(err)
	}
	if code := s.try(m, events.Bounced, "joe@x.test", unknown); code != http.StatusOK {
		t.Errorf("without the damaged store: answered %d", code)
	}
	m = s.send("ann@x.test")
	s.tell(m, events.Bounced, "ann@x.test", unknown)
	s.line(relay.EventBounced, "ann@x.test")
	if fault := s.app.operated().Fault(); fault != nil {
		t.Errorf("the fault is %v still", fault)
	}
}

// TestFeedbackReload: secrets and webhooks change while the relay runs; a mistake leaves the old ones.
func TestFeedbackReload(t *testing.T) {
	s := newScene(t, "postmark", "")
	m := s.send("joe@x.test")
	before := s.conf
	s.conf = strings.ReplaceAll(before, "credential = ", "credential = \"hook:another0123456789\" # ")
	if err := s.app.Reload(s.load()); err != nil {
		t.Fatal(err)
	}
	if code := s.try(m, events.Bounced, "joe@x.test", unknown); code != http.StatusUnauthorized {
		t.Errorf("by the old secret: %d", code)
	}
	s.conf = strings.ReplaceAll(before, "credential = ", "credential = \"hook:short\" # ")
	if err := s.app.Reload(s.load()); err == nil {
		t.Error("a secret that is too short was taken")
	}
	s.conf = strings.ReplaceAll(before, "provider = \"postmark\"", "provider = \"postmark\"\npath = \"/new\"")
	if err := s.app.Reload(s.load()); err != nil {
		t.Fatal(err)
	}
	r := s.request(m, events.Bounced, "joe@x.test", unknown)
	if code := s.post(r); code != http.StatusNotFound {
		t.Errorf("at the old path: %d", code)
	}
	r.URL.Path = "/new"
	if code := s.post(r); code != http.StatusOK {
		t.Errorf("at the new path: %d", code)
	}
	s.line(relay.EventBounced, "joe@x.test")
}

// TestFeedbackOff: without it nothing is remembered, no file is made and nothing is added to mail.
func TestFeedbackOff(t *testing.T) {
	s := newScene(t, "postmark", "")
	s.stop()
	at := strings.Index(s.conf, "[feedback]")
	until := strings.Index(s.conf, "[upstream.default]")
	s.conf = s.conf[:at] + s.conf[until:]
	store := filepath.Join(s.dir, "spool", feedbackFile)
	for _, name := range []string{store, store + "-wal", store + "-shm", store + ".lock"} {
		os.Remove(name)
	}
	s.start()
	m := s.send("joe@x.test")
	if head := string(m.Header); !strings.HasPrefix(head, "Received: ") {
		t.Errorf("the header begins with %.80q", head)
	}
	s.line(relay.EventRelayed, "joe@x.test")
	if found, _ := filepath.Glob(store + "*"); len(found) > 0 || s.app.feedback != nil ||
		s.app.FeedbackAddr() != nil || s.app.relayed() != nil {
		t.Errorf("there is %v", found)
	}
}

// TestFeedbackOffAgain: what was remembered stays when feedback is switched off, and the log says so.
func TestFeedbackOffAgain(t *testing.T) {
	s := newScene(t, "postmark", "")
	s.send("joe@x.test")
	s.line(relay.EventRelayed, "joe@x.test")
	s.stop()
	at := strings.Index(s.conf, "[feedback]")
	until := strings.Index(s.conf, "[upstream.default]")
	s.conf = s.conf[:at] + s.conf[until:]
	store := filepath.Join(s.dir, "spool", feedbackFile)
	s.start()
	if logged := s.logged.String(); !strings.Contains(logged, "feedback is off") ||
		!strings.Contains(logged, store) {
		t.Errorf("the log does not tell of the file:\n%s", logged)
	}
	if _, err := os.Stat(store); err != nil {
		t.Error(err)
	}
}

// TestFeedbackWrongProof: requests that are not the provider's have no effect, and their answers no detail.
func TestFeedbackWrongProof(t *testing.T) {
	for _, provider := range webhook.Providers() {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, provider, "")
			m := s.send("joe@x.test")
			s.line(relay.EventRelayed, "joe@x.test")
			forger := testSigner(t)
			if s.settings.Topic != "" {
				forger = newSigner(t)
			}
			var err error
			s.sender, err = events.New(events.Options{Provider: provider, Signer: forger,
				URL: "http://hooks.test/" + provider, Key: "another key",
				Credential: "other:0123456789abcdef"})
			if err != nil {
				t.Fatal(err)
			}
			code := s.try(m, events.Bounced, "joe@x.test", unknown)
			if code == http.StatusOK || code == http.StatusForbidden || code == http.StatusNotAcceptable {
				t.Errorf("answered %d", code)
			}
			if n := s.app.feedback.store.Stat().Waiting; n != 0 {
				t.Errorf("%d reports are in the journal", n)
			}
		})
	}
}

// newSigner is another one than the scene's.
func newSigner(t *testing.T) *events.Signer {
	t.Helper()
	s, err := events.NewSigner(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bounceMail is a report by mail (RFC 3464) that returns a header.
func bounceMail(to, recipient, reply string, header []byte) string {
	return fmt.Sprintf("From: Mail Delivery System <MAILER-DAEMON@mx.office.test>\r\nTo: <%s>\r\n"+
		"Return-Path: <>\r\nSubject: Undelivered Mail Returned to Sender\r\n"+
		"Message-ID: <1@mx.office.test>\r\n"+
		"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"+
		"Content-Type: text/plain\r\n\r\nI could not deliver your message.\r\n--b\r\n"+
		"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.office.test\r\n\r\n"+
		"Final-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: %s\r\nRemote-MTA: dns; mx.x.test\r\n"+
		"Diagnostic-Code: smtp; %s\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n%s\r\n--b--\r\n",
		to, recipient, strings.Fields(reply)[1], reply, header)
}
