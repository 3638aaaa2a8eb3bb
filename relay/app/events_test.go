package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

const eventSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// taker is an application's webhook.
type taker struct {
	t      *testing.T
	server *httptest.Server

	mu   sync.Mutex
	down bool
	got  []taken
}

// taken is an event that was taken.
type taken struct {
	id   string
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func newTaker(t *testing.T) *taker {
	tk := &taker{t: t}
	tk.server = httptest.NewServer(tk)
	t.Cleanup(tk.server.Close)
	return tk
}

// ServeHTTP takes an event whose signature verifies.
func (tk *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	signer, err := standardwebhooks.NewWebhook(eventSecret)
	if err == nil {
		err = signer.Verify(body, r.Header)
	}
	e := taken{id: r.Header.Get("webhook-id")}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		tk.t.Errorf("%v: %s", err, body)
	}
	tk.mu.Lock()
	defer tk.mu.Unlock()
	if tk.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	tk.got = append(tk.got, e)
}

// isDown lets it take nothing, or everything again.
func (tk *taker) isDown(down bool) {
	tk.mu.Lock()
	defer tk.mu.Unlock()
	tk.down = down
}

// all are the events of a type about a recipient.
func (tk *taker) all(typ, to string) (list []taken) {
	tk.mu.Lock()
	defer tk.mu.Unlock()
	for _, e := range tk.got {
		if e.Type == typ && strings.Contains(string(e.Data), fmt.Sprintf(`"to":%q`, to)) {
			list = append(list, e)
		}
	}
	return list
}

// wait waits for the event of a type about a recipient.
func (tk *taker) wait(typ, to string) taken {
	tk.t.Helper()
	smtptest.WaitFor(tk.t, typ+" of "+to, func() bool { return len(tk.all(typ, to)) > 0 })
	return tk.all(typ, to)[0]
}

// eventScene is a scene whose events go to a webhook.
func eventScene(t *testing.T, keys string) (*scene, *taker) {
	s, tk := newScene(t, "ses", ""), newTaker(t)
	s.stop()
	s.script(func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage != diagnose.StageRcpt:
		case strings.HasPrefix(c.Address, "joe"):
			return smtptest.Action{Reply: unknown}
		case strings.HasPrefix(c.Address, "full"):
			return smtptest.Action{Reply: "452 4.2.2 Mailbox full"}
		}
		return smtptest.Action{}
	})
	s.conf += fmt.Sprintf("[[webhook]]\nname = \"shop\"\nurl = %q\nsecret = %q\n%s", tk.server.URL,
		eventSecret, keys)
	s.start()
	return s, tk
}

// TestEventsAreSent: what happens to mail, and what comes back for it later, is sent as it is logged.
func TestEventsAreSent(t *testing.T) {
	s, tk := eventScene(t, `events = ["all"]`)
	s.submit("joe@x.test")
	s.submit("full@x.test")
	m := s.send("ann@x.test")
	for _, want := range [][2]string{
		{"message.failed", "joe@x.test"}, {"message.deferred", "full@x.test"},
		{"message.relayed", "ann@x.test"}, {"message.accepted", "ann@x.test"},
		{"message.reported", "joe@x.test"},
	} {
		e := tk.wait(want[0], want[1])
		smtptest.WaitFor(t, "the same in the delivery log", func() bool {
			s.app.FlushLog()
			return slices.Contains(strings.Split(s.log.String(), "\n"), string(e.Data))
		})
	}
	s.line(relay.EventRelayed, "ann@x.test")
	s.tell(m, events.Bounced, "ann@x.test", unknown)
	tk.wait("message.bounced", "ann@x.test")
	s.settled()
	smtptest.WaitFor(t, "the entries to go", func() bool {
		stat, err := s.app.Stat(t.Context())
		return err == nil && stat.Owed == 0 && len(s.app.webhooks.States()) == 1 &&
			s.app.webhooks.States()[0].Backlog == 0
	})
	for _, e := range []string{"message.failed", "message.reported"} {
		if n := len(tk.all(e, "joe@x.test")); n != 1 {
			t.Errorf("%s was sent %d times", e, n)
		}
	}
	if n := len(tk.all("message.bounced", "ann@x.test")); n != 1 {
		t.Errorf("the bounce was sent %d times", n)
	}
}

// TestTriedMail: what becomes of mail that is tried before it is stored is sent too.
func TestTriedMail(t *testing.T) {
	s, tk := eventScene(t, `events = ["all"]`)
	s.conf = strings.Replace(s.conf, "[spool]\n", "[accept]\nmode = \"try\"\n[spool]\n", 1)
	s.stop()
	s.start()
	c, err := smtptest.Greet(t.Context(), s.app.Addrs()[0].String(), "shop.test", smtptest.ClientOptions{})
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
	if err := c.Command("Subject: hello\r\n\r\nhello\r\n."); err == nil {
		t.Fatal("the refusal does not reach the client")
	}
	tk.wait("message.failed", "joe@x.test")
	s.submit("full@x.test")
	s.submit("ann@x.test")
	tk.wait("message.deferred", "full@x.test")
	tk.wait("message.relayed", "ann@x.test")
}

// TestDeadReceiver: while a receiver takes nothing mail goes on, no message is kept for it, health says so,
// and after a restart of the relay the receiver gets everything.
func TestDeadReceiver(t *testing.T) {
	s, tk := eventScene(t, "")
	tk.isDown(true)
	s.conf = strings.Replace(s.conf, "[dsn]\n", "[dsn]\nroute = \"off\"\n", 1)
	s.stop()
	s.start()
	for i := range 5 {
		s.submit(fmt.Sprintf("joe%d@x.test", i))
		s.send(fmt.Sprintf("ann%d@x.test", i))
	}
	smtptest.WaitFor(t, "the queue to be empty", func() bool {
		stat, err := s.app.Stat(t.Context())
		return err == nil && stat.Messages == 0 && s.app.webhooks.States()[0].Backlog == 5 &&
			s.app.webhooks.States()[0].State == relay.WebhookFailing
	})
	s.stop()
	tk.isDown(false)
	s.start()
	for i := range 5 {
		tk.wait("message.failed", fmt.Sprintf("joe%d@x.test", i))
	}
}

// TestWebhookRemovedByReload: a reload takes away a webhook with what was still to be sent to it, and mail
// goes on; what was owed to it keeps no message, and another reload brings it back.
func TestWebhookRemovedByReload(t *testing.T) {
	s, tk := eventScene(t, "")
	tk.isDown(true)
	s.submit("joe1@x.test")
	smtptest.WaitFor(t, "the backlog", func() bool {
		states := s.app.webhooks.States()
		return len(states) == 1 && states[0].Backlog == 1
	})
	with := s.conf
	s.conf, _, _ = strings.Cut(s.conf, "[[webhook]]")
	if err := s.app.Reload(s.load()); err != nil {
		t.Fatal(err)
	}
	smtptest.WaitFor(t, "the loss in the log", func() bool {
		s.app.FlushLog()
		return strings.Contains(s.log.String(), `"event":"webhook","state":"lost","webhook":"shop"`)
	})
	s.submit("joe2@x.test")
	s.line(relay.EventFailed, "joe2@x.test")
	tk.isDown(false)
	s.conf = with
	if err := s.app.Reload(s.load()); err != nil {
		t.Fatal(err)
	}
	smtptest.WaitFor(t, "the webhook", func() bool { return len(s.app.webhooks.States()) == 1 })
	s.submit("joe3@x.test")
	tk.wait("message.failed", "joe3@x.test")
	if n := len(tk.all("message.failed", "joe2@x.test")); n > 0 {
		t.Error("an event that nobody wanted was sent")
	}
}
