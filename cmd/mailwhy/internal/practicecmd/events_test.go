package practicecmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/feedback/webhook/limit"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

// journal keeps what a webhook took.
type journal struct {
	mu  sync.Mutex
	raw []*feedback.Raw
}

func (j *journal) Append(_ context.Context, raw *feedback.Raw) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := *raw
	kept.Body = bytes.Clone(raw.Body)
	j.raw = append(j.raw, &kept)
	return nil
}

func (j *journal) all() []*feedback.Raw {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.raw)
}

// announced are the settings that Announce prints.
type announced struct {
	Feedback struct {
		PublicURL string `toml:"public_url"`
		Webhook   []struct {
			Provider, Path string
			SigningKey     []string `toml:"signing_key"`
			Credential     []string
			Topics         []string
			PracticeCert   string `toml:"practice_cert_file"`
			Roots          string `toml:"roots_file"`
		}
	}
}

// believing is a webhook that is configured as the announcement says.
func believing(t *testing.T, e *Events) (*webhook.Hook, string) {
	t.Helper()
	var b bytes.Buffer
	e.Announce(&b)
	_, text, _ := strings.Cut(b.String(), "\n\n")
	var a announced
	if err := toml.Unmarshal([]byte(text), &a); err != nil || len(a.Feedback.Webhook) != 1 {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	w := a.Feedback.Webhook[0]
	s := webhook.Source{Name: "hook", Provider: w.Provider, Keys: w.SigningKey, Credentials: w.Credential,
		Topics: w.Topics}
	if a.Feedback.PublicURL != "" {
		s.URL = a.Feedback.PublicURL + "/" + w.Provider
	}
	if w.Roots != "" {
		pem, err := os.ReadFile(w.Roots)
		if err != nil {
			t.Fatal(err)
		}
		s.Roots = x509.NewCertPool()
		s.Roots.AppendCertsFromPEM(pem)
	}
	h, err := webhook.New(s, sns.Practice{File: w.PracticeCert})
	if err != nil {
		t.Fatalf("%v with\n%s", err, b.String())
	}
	return h, w.Path
}

// lines are a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) log(what, rest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, what+" "+rest)
}

func (l *lines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(s string) bool { return strings.Contains(s, part) })
}

// upstream is a practice upstream that e watches. Its 250 names the message "id-1".
func upstream(t *testing.T, e *Events) *smtptest.Server {
	t.Helper()
	o := smtptest.Options{Forget: true, Deliver: func(*smtptest.Message) error { return nil },
		Script: func(c smtptest.Command) smtptest.Action {
			if c.Line == "." {
				return smtptest.Action{Reply: "250 Ok: queued as id-1"}
			}
			return smtptest.Action{}
		}}
	e.Watch(&o)
	s, err := smtptest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func send(t *testing.T, s *smtptest.Server, to ...string) {
	t.Helper()
	err := smtp.SendMail(s.Addr(), nil, "app@shop.test", to, []byte("Message-ID: <1@shop.test>\r\n\r\nx\r\n"))
	if err != nil {
		t.Fatal(err)
	}
}

// TestEvents goes from the 250 to the webhook's journal, for each provider, by what is announced.
func TestEvents(t *testing.T) {
	for _, provider := range events.Providers() {
		j, log := &journal{}, &lines{}
		var handler http.Handler
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(w, r)
		}))
		defer server.Close()
		o := Options{URL: server.URL + "/" + provider, Provider: provider, Log: log.log, Speed: 1000}
		if provider == "ses" || provider == "scaleway" {
			o.Certificate = filepath.Join(t.TempDir(), "practice.pem")
		}
		e, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := believing(t, e)
		handler = &webhook.Handler{Hook: h, Journal: j, MaxBody: 1 << 20, Timeout: 5 * time.Second,
			Slots: make(chan struct{}, 8), Limit: new(limit.Limit), Now: time.Now,
			Record: func(r webhook.Result, err error) {
				if r != webhook.ResultTaken {
					t.Errorf("%s: %s, %v", provider, r, err)
				}
			}}
		s := upstream(t, e)
		send(t, s, "nobody@any.test", "late-550-5.1.1@any.test")
		smtptest.WaitFor(t, provider+"'s event", func() bool { return len(j.all()) == 1 })
		smtptest.WaitFor(t, "the log", func() bool {
			return log.has("event bounced <late-550-5.1.1@any.test>  answered 200")
		})
		e.Close()

		got, err := h.Read(j.all()[0])
		if err != nil || len(got) == 0 || got[0].Kind != feedback.KindBounced {
			t.Fatalf("%s: %+v, %v", provider, got, err)
		}
		found := slices.ContainsFunc(got, func(e feedback.Event) bool {
			return e.Recipient == "late-550-5.1.1@any.test"
		})
		if !found {
			t.Errorf("%s: %+v", provider, got)
		}
		id := feedback.Key{Kind: feedback.KeyProviderID, Value: "id-1"}
		known := provider == "ses" || provider == "brevo" || provider == "resend"
		if slices.Contains(got[0].Keys, id) != known {
			t.Errorf("%s: keys %v", provider, got[0].Keys)
		}
	}
}

// TestEventsTriedAgain: a refusal is told, and the event comes again in the provider's time.
func TestEventsTriedAgain(t *testing.T) {
	answers := make(chan int, 3)
	answers <- 503
	answers <- 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(<-answers)
	}))
	defer server.Close()
	log := &lines{}
	e, err := New(Options{URL: server.URL, Provider: "postmark", Log: log.log, Speed: 60_000})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := upstream(t, e)
	send(t, s, "complaint@any.test")
	smtptest.WaitFor(t, "the log", func() bool {
		return log.has("complained <complaint@any.test>  answered 503, again in 1ms") &&
			log.has("complained <complaint@any.test>  answered 200")
	})
}

// TestEventsUntold: what a provider does not tell is not sent, and said.
func TestEventsUntold(t *testing.T) {
	log := &lines{}
	e, err := New(Options{URL: "http://127.0.0.1:1", Provider: "azure", Log: log.log, Speed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	send(t, upstream(t, e), "complaint@any.test")
	smtptest.WaitFor(t, "the log", func() bool { return log.has("not sent: azure does not tell of it") })
}

// TestClose: nothing is sent after it, and it waits for nothing that is far off.
func TestClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, after := range []time.Duration{0, time.Hour} {
		e, err := New(Options{URL: "http://" + ln.Addr().String(), Provider: "brevo", After: after,
			Log: (&lines{}).log, Speed: 1})
		if err != nil {
			t.Fatal(err)
		}
		send(t, upstream(t, e), "late-550@any.test")
		begin := time.Now()
		e.Close()
		if d := time.Since(begin); d > 5*time.Second || e.pending.Load() != 0 {
			t.Errorf("after %v, %d pending", d, e.pending.Load())
		}
	}
}

func TestMistakes(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	const hook = "http://127.0.0.1:9126/x"
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Key: "k"}, "--events-key: does nothing without --events"},
		{Options{URL: hook}, "say with --as"},
		{Options{URL: hook, Provider: "gmail"}, "there are those of azure"},
		{Options{URL: hook, Provider: "ses"}, "--events-certificate: name a file"},
		{Options{URL: hook, Provider: "ses", Certificate: other}, "no certificate of practice"},
		{Options{URL: hook, Provider: "brevo", Certificate: other}, "signs with no certificate"},
		{Options{URL: "x", Provider: "brevo"}, "not the URL"},
		{Options{URL: hook, Provider: "brevo", After: -1}, "--after"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if b, _ := os.ReadFile(other); string(b) != "mine" {
		t.Error("a file of somebody else was written over")
	}
	if e, err := New(Options{}); e != nil || err != nil {
		t.Errorf("without --events: %v, %v", e, err)
	}
}

// TestAnnounceHidesTheQuery: a secret in the URL is not printed.
func TestAnnounceHidesTheQuery(t *testing.T) {
	e, err := New(Options{URL: "http://u:hidden@127.0.0.1/hook?k=hidden", Provider: "mandrill"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var b bytes.Buffer
	e.Announce(&b)
	if strings.Contains(b.String(), "hidden") || !strings.Contains(b.String(), `path = "/hook"`) {
		t.Error(b.String())
	}
}
