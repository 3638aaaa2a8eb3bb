package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver is an application's webhook.
type receiver struct {
	t      *testing.T
	server *httptest.Server
	verify *standardwebhooks.Webhook

	mu     sync.Mutex
	answer func(http.ResponseWriter, *http.Request, []got) // instead of 204
	got    []got
	ids    []string // webhook-id of each request that was answered
}

// got is an event that a receiver was sent.
type got struct {
	ID   string
	Type string          `json:"type"`
	Time time.Time       `json:"timestamp"`
	Data json.RawMessage `json:"data"`
}

func (g *got) message() string {
	var d struct {
		ID      string `json:"id"`
		Attempt int    `json:"attempt"`
	}
	json.Unmarshal(g.Data, &d)
	return d.ID
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	var err error
	if r.verify, err = standardwebhooks.NewWebhook(secret); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

// ServeHTTP takes events, whose signature it checks.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	if err := r.verify.Verify(body, req.Header); err != nil {
		r.t.Errorf("a request that cannot be verified: %v", err)
	}
	list := parseBody(r.t, body, req.Header.Get("webhook-id"))
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, req, list)
		return
	}
	r.take(req, list)
	w.WriteHeader(http.StatusNoContent)
}

// parseBody reads a request about one event or several.
func parseBody(t *testing.T, body []byte, id string) (list []got) {
	var one got
	if err := json.Unmarshal(body, &one); err != nil {
		t.Errorf("%v: %s", err, body)
	}
	if one.ID = id; one.Type != "batch" {
		return []got{one}
	}
	if err := json.Unmarshal(one.Data, &list); err != nil {
		t.Errorf("%v: %s", err, body)
	}
	return list
}

// take notes events.
func (r *receiver) take(req *http.Request, list []got) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, list...)
	r.ids = append(r.ids, req.Header.Get("webhook-id"))
}

func (r *receiver) events() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// answers replaces the answer; nil is 204.
func (r *receiver) answers(f func(http.ResponseWriter, *http.Request, []got)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// status answers with a status.
func status(code int) func(http.ResponseWriter, *http.Request, []got) {
	return func(w http.ResponseWriter, _ *http.Request, _ []got) { w.WriteHeader(code) }
}

// waitFor waits until the receiver has so many events.
func (r *receiver) waitFor(n int) []got {
	r.t.Helper()
	smtptest.WaitFor(r.t, fmt.Sprint(n, " events"), func() bool { return len(r.events()) >= n })
	return r.events()
}

// bench is a Webhooks that runs.
type bench struct {
	*Webhooks
	t    *testing.T
	dir  string
	log  bytes.Buffer
	mu   sync.Mutex
	told []relay.Event
	skew time.Duration // of the clock
	lim  Limits
	stop func()
}

func newBench(t *testing.T, list ...Settings) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), lim: Limits{Keep: 24 * time.Hour, MaxBytes: 64 << 20}}
	b.start(list...)
	t.Cleanup(func() { b.stop() })
	return b
}

// Write implements io.Writer for the log.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.log.String(), text)
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	b.skew += d
	b.mu.Unlock()
	for _, s := range b.senders.list() {
		s.wakeUp()
	}
	b.wakeUp()
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.skew)
}

func (b *bench) limits() Limits {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lim
}

// start runs the webhooks, as a process does.
func (b *bench) start(list ...Settings) {
	b.t.Helper()
	b.Webhooks = New(Options{
		Dir: b.dir, Limits: b.limits, Busy: func() bool { return false }, Now: b.now,
		Log: slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Tell: func(e relay.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, e)
		},
	})
	b.configure(list...)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx, nil) })
	w := b.Webhooks
	b.stop = func() {
		cancel()
		running.Wait()
		if err := w.Close(); err != nil {
			b.t.Error(err)
		}
		b.stop = func() {}
	}
}

// configure sets webhooks, and waits until they are in force.
func (b *bench) configure(list ...Settings) {
	b.t.Helper()
	var endpoints []*Endpoint
	for _, s := range list {
		e, err := NewEndpoint(s)
		if err != nil {
			b.t.Fatal(err)
		}
		endpoints = append(endpoints, e)
	}
	if err := b.Open(endpoints); err != nil {
		b.t.Fatal(err)
	}
	b.Set(endpoints)
}

// settings are those of a webhook that wants what fails and what is deferred.
func settings(url string) Settings {
	return Settings{Name: "app", URL: url, Secrets: []string{secret}, Batch: 1, Concurrency: 4,
		Events:  []string{"failed", "deferred", "relayed"},
		Timeout: 5 * time.Second, DisableAfter: 72 * time.Hour, Private: true}
}

// event is one of a message, the n-th.
func event(message string, n int) relay.Event {
	return relay.Event{Time: time.Now(), Kind: relay.EventDeferred, ID: message, To: "ann@x.test", Attempt: n,
		Client:    "shop",
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full"}}
}

// state is how the webhook stands.
func (b *bench) state() relay.WebhookState {
	b.t.Helper()
	var st relay.WebhookState
	smtptest.WaitFor(b.t, "the webhook", func() bool {
		list := b.States()
		if len(list) > 0 {
			st = list[0]
		}
		return len(list) > 0
	})
	return st
}

// waitState waits until the webhook stands so.
func (b *bench) waitState(what string, is func(relay.WebhookState) bool) {
	b.t.Helper()
	smtptest.WaitFor(b.t, what, func() bool { return is(b.state()) })
}

// inOrder fails unless the events of each message came in their order, however often each.
func inOrder(t *testing.T, list []got) {
	t.Helper()
	last := map[string]int{}
	for i := range list {
		var d struct {
			ID      string `json:"id"`
			Attempt int    `json:"attempt"`
		}
		if err := json.Unmarshal(list[i].Data, &d); err != nil {
			t.Fatal(err)
		}
		if d.Attempt > last[d.ID]+1 {
			t.Errorf("message %s: event %d after %d", d.ID, d.Attempt, last[d.ID])
		}
		last[d.ID] = max(last[d.ID], d.Attempt)
	}
}

// TestEventsArrive: each event arrives once, signed, in the order of its message, and says what happened.
func TestEventsArrive(t *testing.T) {
	for _, batch := range []int{1, 10} {
		t.Run(fmt.Sprint("batch of ", batch), func(t *testing.T) {
			r := newReceiver(t)
			s := settings(r.server.URL)
			s.Batch = batch
			b := newBench(t, s)
			const messages, each = 20, 5
			for n := range each {
				for m := range messages {
					b.Record(event(fmt.Sprint("M", m), n+1))
				}
			}
			list := r.waitFor(messages * each)
			inOrder(t, list)
			ids := map[string]bool{}
			for i := range list {
				ids[list[i].ID] = true
				if list[i].Type != "message.deferred" || strings.Contains(list[i].ID, ".") {
					t.Errorf("event %+v", list[i])
				}
			}
			if len(list) != messages*each || len(ids) != messages*each {
				t.Errorf("%d events with %d ids, want %d", len(list), len(ids), messages*each)
			}
			b.waitState("the backlog to be empty",
				func(st relay.WebhookState) bool { return st.Backlog == 0 && st.Events == messages*each })
		})
	}
}

// TestFilters: a webhook gets what it asked for, by event, category and client.
func TestFilters(t *testing.T) {
	r := newReceiver(t)
	s := settings(r.server.URL)
	s.Categories, s.Clients = []string{string(diagnose.MailboxFull)}, []string{"shop"}
	b := newBench(t, s)
	other := event("M1", 1)
	other.Client = "crm"
	b.Record(other)
	other = event("M2", 1)
	other.Diagnosis = nil
	b.Record(other)
	other = event("M3", 1)
	other.Kind = relay.EventHeld
	b.Record(other)
	b.Record(event("M4", 1))
	if list := r.waitFor(1); len(list) != 1 || list[0].message() != "M4" {
		t.Errorf("got %+v", list)
	}
}

// TestRotation: while a secret is changed both sign.
func TestRotation(t *testing.T) {
	r := newReceiver(t)
	s := settings(r.server.URL)
	s.Secrets = []string{"whsec_" + strings.Repeat("QUFB", 8), secret}
	b := newBench(t, s)
	b.Record(event("M1", 1))
	r.waitFor(1)
}

// TestFailingEventWaits: an event that is refused is sent again under its id by the schedule; later ones of
// its message wait behind it, and others do not.
func TestFailingEventWaits(t *testing.T) {
	r := newReceiver(t)
	refuse := func(w http.ResponseWriter, req *http.Request, list []got) {
		if list[0].message() == "poison" {
			r.mu.Lock()
			r.ids = append(r.ids, req.Header.Get("webhook-id"))
			r.mu.Unlock()
			http.Error(w, "no such order", http.StatusInternalServerError)
			return
		}
		r.take(req, list)
	}
	r.answers(refuse)
	b := newBench(t, settings(r.server.URL))
	b.Record(event("poison", 1))
	b.Record(event("poison", 2))
	for m := range 10 {
		b.Record(event(fmt.Sprint("M", m), 1))
	}
	r.waitFor(10)
	b.waitState("the refusal", func(st relay.WebhookState) bool { return st.Backlog == 2 })
	r.answers(nil)
	b.pass(5*time.Second - 500*time.Millisecond)
	b.Record(event("M10", 1))
	r.waitFor(11)
	if n := len(r.events()); n != 11 {
		t.Errorf("%d events before the event is due again", n)
	}
	b.pass(10 * time.Second)
	list := r.waitFor(13)
	inOrder(t, list)
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused string
	for _, g := range list {
		if g.message() == "poison" && refused == "" {
			refused = g.ID
		}
	}
	other := func(id string) bool { return id != refused }
	if n := len(slices.DeleteFunc(slices.Clone(r.ids), other)); n < 2 {
		t.Errorf("the event was sent %d times under its id", n)
	}
}

// TestReceiverRestarts: a receiver that is killed under load gets everything after its return, at least once,
// in order.
func TestReceiverRestarts(t *testing.T) {
	r := newReceiver(t)
	s := settings(r.server.URL)
	s.Batch = 3
	b := newBench(t, s)
	addr := r.server.Listener.Addr().String()
	const messages, each = 30, 8
	for n := range each {
		if n == 3 {
			r.waitFor(10)
			r.server.CloseClientConnections()
			r.server.Close()
		}
		for m := range messages {
			b.Record(event(fmt.Sprint("M", m), n+1))
		}
	}
	b.waitState("the failure", func(st relay.WebhookState) bool { return st.State == relay.WebhookFailing })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	again := &httptest.Server{Listener: l, Config: &http.Server{Handler: r}}
	again.Start()
	t.Cleanup(again.Close)
	b.pass(10 * time.Minute)
	smtptest.WaitFor(t, "all events", func() bool {
		ids := map[string]bool{}
		for _, g := range r.events() {
			ids[g.ID] = true
		}
		return len(ids) == messages*each
	})
	inOrder(t, r.events())
	b.waitState("recovery",
		func(st relay.WebhookState) bool { return st.State == relay.WebhookOK && st.Backlog == 0 })
}

// TestRelayRestarts: what was still to be sent is sent after a restart, under the same ids, and nothing else.
func TestRelayRestarts(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusServiceUnavailable))
	s := settings(r.server.URL)
	s.Batch = 4
	b := newBench(t, s)
	for m := range 10 {
		b.Record(event(fmt.Sprint("M", m), 1))
	}
	b.waitState("a failure", func(st relay.WebhookState) bool { return st.State == relay.WebhookFailing })
	b.stop()
	r.answers(nil)
	b.pass(time.Hour)
	b.start(s)
	r.waitFor(10)
	b.waitState("the end", func(st relay.WebhookState) bool { return st.Backlog == 0 })
	b.stop()
	b.start(s)
	b.Record(event("last", 1))
	list := r.waitFor(11)
	if len(list) != 11 || list[10].message() != "last" {
		t.Errorf("%d events", len(list))
	}
}

// TestGoneDisables: 410 disables a webhook at once, is told, outlives a restart, and ends when the operator
// says so; nothing is lost meanwhile.
func TestGoneDisables(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusGone))
	s := settings(r.server.URL)
	b := newBench(t, s)
	b.Record(event("M1", 1))
	b.waitState("disabled", func(st relay.WebhookState) bool { return st.State == relay.WebhookDisabled })
	if !b.logged("the webhook is disabled") || !b.logged("level=ERROR") {
		t.Error("the operator is not told")
	}
	r.answers(nil)
	b.stop()
	b.start(s)
	b.Record(event("M1", 2))
	b.pass(time.Hour)
	b.waitState("the backlog", func(st relay.WebhookState) bool { return st.Backlog == 2 })
	if st := b.state(); st.State != relay.WebhookDisabled || len(r.events()) > 0 {
		t.Errorf("after a restart: %+v, %d events", st, len(r.events()))
	}
	test, err := b.Test(t.Context(), "app")
	if err != nil || !test.OK || test.Status != http.StatusNoContent {
		t.Errorf("test: %+v, %v", test, err)
	}
	if err := b.Enable(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	if list := r.waitFor(3); list[0].Type != "webhook.test" || list[1].message() != "M1" {
		t.Errorf("got %+v", list)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.told) != 2 || b.told[0].State != "disabled" || b.told[1].State != "enabled" {
		t.Errorf("told %+v", b.told)
	}
}

// TestLongFailureDisables: nothing but failures for long disables a webhook.
func TestLongFailureDisables(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusInternalServerError))
	b := newBench(t)
	b.mu.Lock()
	b.lim.Keep = 30 * 24 * time.Hour
	b.mu.Unlock()
	b.configure(settings(r.server.URL))
	b.state()
	b.Record(event("M1", 1))
	for range 12 {
		before := b.state().Requests[resultError]
		b.pass(31 * time.Hour)
		b.waitState("another attempt", func(st relay.WebhookState) bool {
			return st.Requests[resultError] > before || st.State == relay.WebhookDisabled
		})
		if b.state().State == relay.WebhookDisabled {
			return
		}
	}
	t.Errorf("state %+v", b.state())
}

// TestRetryAfter: a webhook that asks for time gets it, for all of its events.
func TestRetryAfter(t *testing.T) {
	r := newReceiver(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request, _ []got) {
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	b := newBench(t, settings(r.server.URL))
	b.Record(event("M1", 1))
	b.waitState("the throttle", func(st relay.WebhookState) bool { return st.Requests[resultThrottled] == 1 })
	r.answers(nil)
	b.Record(event("M2", 1))
	b.pass(90 * time.Minute)
	b.waitState("the backlog", func(st relay.WebhookState) bool { return st.Backlog == 2 })
	if n := len(r.events()); n > 0 {
		t.Errorf("%d events before the time", n)
	}
	b.pass(time.Hour)
	r.waitFor(2)
}

// TestBadReceivers: what a receiver may do costs a bounded time, and is told as what it is.
func TestBadReceivers(t *testing.T) {
	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	for _, tc := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request, []got)
		url     string
		result  int
		why     string
		private bool
	}{
		{name: "redirect", result: resultError, why: "redirects are not followed",
			answer: func(w http.ResponseWriter, req *http.Request, _ []got) {
				http.Redirect(w, req, "http://169.254.169.254/", http.StatusTemporaryRedirect)
			}},
		{name: "refusal", result: resultRefused, why: `answered 422 Unprocessable Entity: "no such order"`,
			answer: func(w http.ResponseWriter, _ *http.Request, _ []got) {
				http.Error(w, "no such\norder", http.StatusUnprocessableEntity)
			}},
		{name: "slow", result: resultTimeout, why: "no answer in time",
			answer: func(w http.ResponseWriter, req *http.Request, _ []got) {
				select {
				case <-stuck:
				case <-req.Context().Done():
				}
			}},
		{name: "endless answer", result: resultOK,
			answer: func(w http.ResponseWriter, req *http.Request, _ []got) {
				for req.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			}},
		{name: "huge header", result: resultUnreachable, why: "server response headers exceeded",
			answer: func(w http.ResponseWriter, _ *http.Request, _ []got) {
				w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
			}},
		{name: "metadata", url: "http://169.254.169.254/latest", result: resultForbidden, private: true,
			why: "connections to this address are refused"},
		{name: "private", url: "http://127.0.0.1:1/", result: resultForbidden, why: "is private"},
		{name: "nobody", url: "http://127.0.0.1:1/", result: resultUnreachable, private: true,
			why: "refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReceiver(t)
			r.answers(tc.answer)
			s := settings(r.server.URL)
			s.Timeout, s.Private = time.Second, tc.private || tc.url == ""
			if tc.url != "" {
				s.URL = tc.url
			}
			b := newBench(t, s)
			b.Record(event("M1", 1))
			b.waitState("the result", func(st relay.WebhookState) bool {
				return st.Requests != nil && st.Requests[tc.result] >= 1
			})
			if tc.result != resultOK {
				b.waitState("the reason",
					func(st relay.WebhookState) bool { return strings.Contains(st.Why, tc.why) })
			}
		})
	}
}

// TestCertificate: a certificate that is not trusted is not sent to; with its CA it is.
func TestCertificate(t *testing.T) {
	r := newReceiver(t)
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	b := newBench(t, settings(server.URL))
	b.Record(event("M1", 1))
	b.waitState("the refusal",
		func(st relay.WebhookState) bool { return strings.Contains(st.Why, "certificate") })
	if n := len(r.events()); n > 0 {
		t.Errorf("%d events", n)
	}
}

// TestReplay: what was sent is sent again when asked for, under the same ids.
func TestReplay(t *testing.T) {
	r := newReceiver(t)
	b := newBench(t, settings(r.server.URL))
	b.Record(event("M1", 1))
	r.waitFor(1)
	since := time.Now()
	for m := range 5 {
		b.Record(event(fmt.Sprint("N", m), 1))
	}
	before := r.waitFor(6)[1:]
	b.waitState("the answers", func(st relay.WebhookState) bool { return st.Backlog == 0 })
	n, err := b.Replay(t.Context(), "app", since)
	if err != nil || n != 5 {
		t.Fatalf("replay: %d, %v", n, err)
	}
	after := r.waitFor(11)[6:]
	ids := func(list []got) (ids []string) {
		for _, g := range list {
			ids = append(ids, g.ID)
		}
		slices.Sort(ids)
		return ids
	}
	if !slices.Equal(ids(before), ids(after)) {
		t.Errorf("sent again %v, want %v", ids(after), ids(before))
	}
	if n, err := b.Replay(t.Context(), "nobody", since); err == nil {
		t.Errorf("an unknown webhook: %d", n)
	}
	b.waitState("the end", func(st relay.WebhookState) bool { return st.Backlog == 0 })
}

// TestBacklogIsBounded: what a webhook has not had when the log is full is counted, logged, told, and told to
// the webhook itself when it is back.
func TestBacklogIsBounded(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusServiceUnavailable))
	b := newBench(t)
	b.mu.Lock()
	b.lim.MaxBytes = 256 << 10
	b.mu.Unlock()
	s := settings(r.server.URL)
	s.Batch = 100
	b.configure(s)
	b.state()
	const events = 2000
	for m := range events {
		b.Record(event(fmt.Sprint("M", m), 1))
		if m%100 == 0 { // a batch of the writer is written whole
			b.waitState("the writer", func(st relay.WebhookState) bool {
				return st.Backlog+int64(st.Lost) > int64(m)
			})
		}
	}
	b.waitState("the writer", func(st relay.WebhookState) bool { return st.Backlog+int64(st.Lost) == events })
	lost := int(b.state().Lost)
	if lost == 0 || !b.logged("events for a webhook are lost") {
		t.Fatalf("%d are lost", lost)
	}
	r.answers(nil)
	b.pass(time.Hour)
	list := r.waitFor(events - lost + 1)
	if i := slices.IndexFunc(list, func(g got) bool { return g.Type == "webhook.lost" }); i < 0 ||
		!strings.Contains(string(list[i].Data), fmt.Sprintf("not sent to this webhook: %d;", lost)) {
		t.Errorf("the webhook is not told of the %d lost events: %d", lost, i)
	}
	if n := len(list); n != events-lost+1 {
		t.Errorf("%d events, want %d", n, events-lost+1)
	}
}

// TestOldEventsGo: an event is kept for a time, and no longer.
func TestOldEventsGo(t *testing.T) {
	r := newReceiver(t)
	b := newBench(t, settings(r.server.URL))
	b.Record(event("M1", 1))
	r.waitFor(1)
	b.pass(2 * time.Hour) // the log begins another segment
	b.Record(event("M2", 1))
	r.waitFor(2)
	b.pass(25 * time.Hour)
	smtptest.WaitFor(t, "the log to be cut", func() bool {
		b.wakeUp()
		return b.Webhooks.log.Load().Start() > 0
	})
	if n, err := b.Replay(t.Context(), "app", time.Now().Add(-time.Hour)); err != nil || n > 1 {
		t.Errorf("%d of 2 events are kept, %v", n, err)
	}
}

// TestRemoved: what was still to be sent to a webhook that is removed is told as lost, and a new one of that
// name begins anew.
func TestRemoved(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusServiceUnavailable))
	s := settings(r.server.URL)
	b := newBench(t, s)
	b.Record(event("M1", 1))
	b.waitState("the backlog", func(st relay.WebhookState) bool { return st.Backlog == 1 })
	b.configure()
	smtptest.WaitFor(t, "the removal", func() bool { return len(b.States()) == 0 })
	smtptest.WaitFor(t, "the event", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.told) == 1 && b.told[0].State == "lost"
	})
	b.Record(event("M1", 2)) // nobody wants it
	r.answers(nil)
	b.configure(s)
	b.state()
	b.Record(event("M2", 1))
	if list := r.waitFor(1); list[0].message() != "M2" {
		t.Errorf("got %+v", list)
	}
}

// TestChangedFilters: a reload changes what a webhook gets from what waits, too.
func TestChangedFilters(t *testing.T) {
	r := newReceiver(t)
	r.answers(status(http.StatusServiceUnavailable))
	s := settings(r.server.URL)
	b := newBench(t, s)
	b.Record(event("M1", 1))
	failed := event("M2", 1)
	failed.Kind = relay.EventFailed
	b.Record(failed)
	b.waitState("the backlog", func(st relay.WebhookState) bool { return st.Backlog == 2 })
	s.Events = []string{"failed"}
	b.configure(s)
	b.waitState("the change", func(st relay.WebhookState) bool { return st.Backlog <= 1 })
	r.answers(nil)
	b.pass(time.Hour)
	if list := r.waitFor(1); list[len(list)-1].Type != "message.failed" {
		t.Errorf("got %+v", list)
	}
}
