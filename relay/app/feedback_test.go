package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/record"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

// scene is a relay with an upstream that takes everything, and one provider that tells what became of it.
type scene struct {
	t        *testing.T
	dir      string
	provider string
	upstream *smtptest.Server
	conf     string
	signer   *events.Signer
	log      *smtptest.Buffer // the delivery log
	logged   *smtptest.Buffer // the operational log
	app      *Relay
	stop     func()
	sender   *events.Sender
	settings events.Settings
	decide   atomic.Pointer[func(smtptest.Command) smtptest.Action]
}

// newScene starts a relay whose upstream's events come from the provider; feedback are further keys of
// [feedback].
func newScene(t *testing.T, provider, feedback string) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), provider: provider, log: &smtptest.Buffer{},
		logged: &smtptest.Buffer{}}
	s.upstream = smtptest.New(t, smtptest.Options{Script: s.answer})
	s.signer = testSigner(t)
	var err error
	s.sender, err = events.New(events.Options{Provider: provider, URL: "http://hooks.test/" + provider,
		Signer: s.signer, Key: "a key"})
	if err != nil {
		t.Fatal(err)
	}
	if s.settings, err = s.sender.Settings(); err != nil {
		t.Fatal(err)
	}
	s.conf = fmt.Sprintf("hostname = \"relay.test\"\n[spool]\ndir = %q\n[dsn]\ncollect = \"0s\"\n"+
		"[[listen]]\naddress = \"127.0.0.1:0\"\n[feedback]\nlisten = \"127.0.0.1:0\"\n"+
		"public_url = \"http://hooks.test\"\n%s"+
		"[[feedback.webhook]]\nprovider = %q\n%s[upstream.default]\nhost = \"127.0.0.1\"\nport = %d\n"+
		"tls = \"none\"\ntag = \"always\"\n",
		filepath.Join(s.dir, "spool"), feedback, provider, s.proof(), s.upstream.Port())
	if err := os.MkdirAll(filepath.Join(s.dir, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

// testSigner signs for the topics of all scenes: a key takes its time to be made.
func testSigner(t *testing.T) *events.Signer {
	t.Helper()
	s, err := onceSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var onceSigner = sync.OnceValues(func() (*events.Signer, error) { return events.NewSigner(time.Now()) })

// proof are the keys of the webhook that prove the provider's requests.
func (s *scene) proof() (text string) {
	switch {
	case s.settings.Topic != "" && s.provider == "scaleway":
		roots := filepath.Join(s.dir, "roots.pem")
		if err := os.WriteFile(roots, s.signer.PEM, 0o600); err != nil {
			s.t.Fatal(err)
		}
		text += fmt.Sprintf("topics = [%q]\nroots_file = %q\n", s.settings.Topic, roots)
	case s.settings.Topic != "":
		text += fmt.Sprintf("topics = [%q]\n", s.settings.Topic)
	}
	if s.settings.SigningKey != "" {
		text += fmt.Sprintf("signing_key = %q\n", s.settings.SigningKey)
	}
	if s.settings.Credential != "" {
		text += fmt.Sprintf("credential = %q\n", s.settings.Credential)
	}
	return text
}

// RoundTrip implements http.RoundTripper: any host has the signer's certificate.
func (s *scene) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Request: r, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(s.signer.PEM))}, nil
}

// load reads the configuration.
func (s *scene) load() *config.Config {
	s.t.Helper()
	file := filepath.Join(s.dir, "relay.toml")
	if err := os.WriteFile(file, []byte(s.conf), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{File: file})
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// open makes the relay, and runs nothing.
func (s *scene) open() {
	s.t.Helper()
	var err error
	s.app, err = New(Options{Config: s.load(), Engine: embedded(), Stdout: s.log, Certificates: s,
		Log: slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		s.t.Fatal(err)
	}
}

// start starts the relay, again after stop.
func (s *scene) start() {
	s.t.Helper()
	s.open()
	s.run()
}

// run runs the relay that was opened.
func (s *scene) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.app.Run(ctx) })
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	s.t.Cleanup(s.stop)
}

// send sends a mail to recipients through the relay, and returns it as the provider has it.
func (s *scene) send(to ...string) *events.Mail {
	s.t.Helper()
	s.submit(to...)
	return s.taken(to...)
}

// submit hands a mail to the relay.
func (s *scene) submit(to ...string) {
	s.t.Helper()
	if r := s.offer(0, "app@shop.test", hello(to[0], ""), to...); !strings.HasPrefix(r, "250 ") {
		s.t.Fatal(r)
	}
}

// hello is a content; header are further lines of its header.
func hello(to, header string) string {
	return "From: app@shop.test\r\nTo: " + to + "\r\nSubject: hello\r\n" + header + "\r\nhello"
}

// offer offers a mail to one of the relay's listeners, that of applications or that for bounces, and returns
// the last reply, whole: to the first recipient that is refused, or to the content.
func (s *scene) offer(listener int, from, content string, to ...string) string {
	s.t.Helper()
	name := []string{"shop.test", "mx.office.test"}[listener]
	c, err := smtptest.Greet(s.t.Context(), s.app.Addrs()[listener].String(), name,
		smtptest.ClientOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	say := func(line string) string {
		s.t.Helper()
		c.Say("%s", line)
		r, err := c.Whole()
		if err != nil {
			s.t.Fatalf("%v, after %s", err, line)
		}
		return r
	}
	reply := say("MAIL FROM:<" + from + ">")
	for i := 0; i < len(to) && reply[0] == '2'; i++ {
		reply = say("RCPT TO:<" + to[i] + ">")
	}
	if reply[0] == '2' {
		reply = say("DATA")
	}
	if reply[0] == '3' {
		reply = say(content + "\r\n.")
	}
	return reply
}

// taken waits until the upstream has a mail for recipients, and returns it.
func (s *scene) taken(to ...string) (mail *events.Mail) {
	s.t.Helper()
	smtptest.WaitFor(s.t, "the mail at the upstream", func() bool {
		for _, m := range s.upstream.Messages() {
			if len(m.To) == len(to) && m.To[0].Address == to[0] {
				mail = providerMail(&m)
			}
		}
		return mail != nil
	})
	return mail
}

// providerMail is a mail as the provider has it.
func providerMail(m *smtptest.Message) *events.Mail {
	head, _, _ := strings.Cut(string(m.Content), "\r\n\r\n")
	mail := &events.Mail{ID: idOf(m.To[0].Address), From: m.From, Header: []byte(head + "\r\n")}
	for _, to := range m.To {
		mail.To = append(mail.To, to.Address)
	}
	return mail
}

// idOf is the id in the upstream's 250 to a mail for this recipient.
func idOf(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// script lets a test decide what the upstream does, where it says anything.
func (s *scene) script(f func(smtptest.Command) smtptest.Action) { s.decide.Store(&f) }

// answer answers the end of data with an id.
func (s *scene) answer(c smtptest.Command) smtptest.Action {
	if f := s.decide.Load(); f != nil {
		if a := (*f)(c); !a.IsZero() {
			return a
		}
	}
	if c.Stage != diagnose.StageEndOfData || c.Arrived == nil || len(c.Arrived.To) == 0 {
		return smtptest.Action{}
	}
	return smtptest.Action{Reply: "250 Ok " + idOf(c.Arrived.To[0].Address)}
}

// tell sends an event about a mail, and wants the webhook to take it.
func (s *scene) tell(m *events.Mail, kind events.Kind, to, reply string) {
	s.t.Helper()
	if code := s.try(m, kind, to, reply); code != http.StatusOK {
		s.t.Fatalf("%s: the webhook answered %d\n%s", kind, code, s.logged)
	}
}

// try sends an event and returns the code of the answer.
func (s *scene) try(m *events.Mail, kind events.Kind, to, reply string) int {
	s.t.Helper()
	return s.post(s.request(m, kind, to, reply))
}

// request makes a request with an event; it can be sent again.
func (s *scene) request(m *events.Mail, kind events.Kind, to, reply string) *http.Request {
	s.t.Helper()
	e := &events.Event{Kind: kind, Recipient: to, Reply: reply, Host: "mx.x.test", Time: time.Now()}
	r, err := s.sender.Request(context.Background(), m, e, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// post sends a request and returns the code of the answer.
func (s *scene) post(r *http.Request) int {
	s.t.Helper()
	var err error
	if r.Body, err = r.GetBody(); err != nil {
		s.t.Fatal(err)
	}
	door := s.app.FeedbackAddr().String() // wherever the URL leads
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, door)
		}}}
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// lines are those of the delivery log with an event, about a recipient.
func (s *scene) lines(kind relay.EventKind, to string) (list []record.Event) {
	s.t.Helper()
	s.app.FlushLog()
	for line := range strings.Lines(s.log.String()) {
		e, err := record.Parse([]byte(line))
		if err != nil {
			s.t.Fatalf("%v in %q", err, line)
		}
		if e.Kind == kind && e.To == to {
			list = append(list, e)
		}
	}
	return list
}

// line waits for the first of lines.
func (s *scene) line(kind relay.EventKind, to string) record.Event {
	s.t.Helper()
	var found []record.Event
	smtptest.WaitFor(s.t, fmt.Sprintf("%s of %s in the log; the operator's says\n%s", kind, to, s.logged),
		func() bool {
			found = s.lines(kind, to)
			return len(found) > 0
		})
	return found[0]
}

// bounces are the reports that came to the sender.
func (s *scene) bounces() (list []string) {
	for _, m := range s.upstream.Messages() {
		if m.From == "" {
			list = append(list, string(m.Content))
		}
	}
	return list
}

// bounce waits for the one report, and returns it.
func (s *scene) bounce() string {
	s.t.Helper()
	smtptest.WaitFor(s.t, "a bounce", func() bool { return len(s.bounces()) > 0 })
	return s.bounces()[0]
}

// settled waits until nothing waits for its effect.
func (s *scene) settled() {
	s.t.Helper()
	smtptest.WaitFor(s.t, "all reports to have their effect", func() bool {
		return s.app.feedback.store.Stat().Waiting == 0
	})
}

// TestRefusedLater: a refusal that a provider tells of, with its own proof, is explained in the log with
// category and fix, comes to the sender in one bounce, and is counted; of each of the kinds that the provider
// has there is a line.
func TestRefusedLater(t *testing.T) {
	for _, provider := range webhook.Providers() {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, provider, "delivered = true\n")
			weak := provider == "mailersend" // names no id that is known before
			for _, tt := range []struct {
				kind  events.Kind
				event relay.EventKind
				reply string
			}{
				{events.Retrying, relay.EventRetrying, "451 4.7.1 Greylisted, try again later"},
				{events.Delivered, relay.EventDelivered, "250 2.0.0 OK"},
				{events.Complained, relay.EventComplained, ""},
				{events.Dropped, relay.EventBounced, ""},
				{events.Bounced, relay.EventBounced, "550 5.1.1 No such user here"},
			} {
				to := string(tt.kind) + "@x.test"
				m := s.send(to)
				e := &events.Event{Kind: tt.kind, Recipient: to, Reply: tt.reply, Host: "mx.x.test",
					Time: time.Now()}
				r, err := s.sender.Request(context.Background(), m, e, time.Now())
				if errors.Is(err, events.ErrUntold) {
					continue
				} else if err != nil {
					t.Fatal(err)
				}
				if code := s.post(r); code != http.StatusOK {
					t.Fatalf("%s: the webhook answered %d\n%s", tt.kind, code, s.logged)
				}
				line := s.line(tt.event, to)
				s.check(tt.kind, &line, weak)
			}
			s.settled()
			for _, tt := range []events.Kind{events.Dropped, events.Bounced} {
				if n := len(s.lines(relay.EventBounced, string(tt)+"@x.test")); n > 1 {
					t.Errorf("%s: %d lines", tt, n)
				}
			}
			s.checkMetrics(weak)
			if weak {
				return
			}
			text := s.bounce()
			for _, want := range []string{"To: <app@shop.test>", "Final-Recipient: rfc822;", "Action: failed",
				"X-Mailwhy-Fix:"} {
				if !strings.Contains(text, want) {
					t.Errorf("the bounce lacks %q:\n%s", want, text)
				}
			}
		})
	}
}

// check looks at a line of the log.
func (s *scene) check(kind events.Kind, e *record.Event, weak bool) {
	s.t.Helper()
	if e.Source != "webhook" || e.Provider != s.provider || e.EventID == "" || e.ReportedAt.IsZero() {
		s.t.Errorf("%s: %+v does not say where it is from", kind, e)
	}
	if want := relay.TrustProven; !weak && e.Trust != want {
		s.t.Errorf("%s: trust %s by %s", kind, e.Trust, e.MatchedBy)
	}
	if weak && e.Trust != relay.TrustGuess {
		s.t.Errorf("%s: trust %s by %s", kind, e.Trust, e.MatchedBy)
	}
	if kind == events.Delivered {
		return
	}
	if d := e.Diagnosis; d == nil || d.Category == "" || len(d.Fix) == 0 {
		s.t.Errorf("%s is not explained: %+v", kind, d)
	} else if kind == events.Bounced && e.Reply != "" && d.Reason != "user_unknown" {
		s.t.Errorf("%s: %s, reason %s", kind, e.Reply, d.Reason)
	}
}

// metrics is the page of the metrics.
func (s *scene) metrics() string {
	w := httptest.NewRecorder()
	s.app.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// checkMetrics looks at what was counted.
func (s *scene) checkMetrics(weak bool) {
	s.t.Helper()
	matched := fmt.Sprintf("mailwhy_feedback_total{provider=%q,result=\"matched\",source=\"webhook\"} ",
		s.provider)
	if page := s.metrics(); !strings.Contains(page, matched) || strings.Contains(page, matched+"0") ||
		!strings.Contains(page, "mailwhy_recall_messages ") {
		s.t.Errorf("the metrics have no %s", matched)
	}
}
