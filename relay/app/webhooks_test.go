package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/query"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/feedback/webhook/sns"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/events"
)

const hookSecret = "hook:0123456789abcdef"

// proofsOf are keys that let a webhook of a provider prove its requests.
func proofsOf(t *testing.T, provider string) string {
	t.Helper()
	switch provider {
	case "mailgun", "mailersend", "resend", "mandrill":
		return "signing_key = \"whsec_bWFpbHdoeS10ZXN0LWtleS0wMTIzNDU2Nzg5YWJjZGVm\"\n"
	case "sendgrid":
		return "signing_key = \"" + settingsOf(t, provider).SigningKey + "\"\n"
	case "ses":
		return "topics = [\"arn:aws:sns:eu-west-1:123456789012:mail\"]\n"
	case "scaleway":
		roots := filepath.Join(t.TempDir(), "roots.pem")
		if err := os.WriteFile(roots, smtptest.NewCertificate(t, "roots.test").CertPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		return "topics = [\"arn:scw:sns:fr-par:project-1:mail\"]\nroots_file = \"" + roots + "\"\n"
	}
	return "credential = \"" + hookSecret + "\"\n"
}

// hookConfig is a configuration with these [[feedback.webhook]]s and [feedback] keys.
func hookConfig(t *testing.T, feedback string, hooks ...string) (*config.Config, error) {
	t.Helper()
	text := "[spool]\ndir = \"" + t.TempDir() + "\"\n[upstream.default]\nhost = \"mail.example.com\"\n" +
		"[feedback]\n" + feedback
	for _, h := range hooks {
		text += "[[feedback.webhook]]\n" + h
	}
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Source{File: file})
}

// TestProofsAreEnough: what the configuration demands of each provider is what its webhook can be made of,
// and a webhook without any of it is refused.
func TestProofsAreEnough(t *testing.T) {
	for _, p := range webhook.Providers() {
		named := fmt.Sprintf("provider = %q\n", p)
		if _, err := hookConfig(t, "", named); err == nil || !strings.Contains(err.Error(), "is not set") {
			t.Errorf("%s without proof: %v", p, err)
		}
		cfg, err := hookConfig(t, "public_url = \"https://hooks.example\"\n", named+proofsOf(t, p))
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if err := Check(cfg); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestHookMistakes: what only the room of the webhooks can see names the webhook.
func TestHookMistakes(t *testing.T) {
	for _, tt := range []struct{ hook, want string }{
		{"provider = \"postmark\"\ncredential = \"hook:hunter2\"\n",
			"feedback.webhook[0]: a credential needs a secret of at least 16 characters"},
		{"provider = \"postmark\"\ncredential = \"hunter2hunter2hunter2\"\n",
			`feedback.webhook[0]: a credential is "user:password", "Header-Name: value" or "?name=value"`},
		{"provider = \"ses\"\ntopics = [\"mail\"]\n", `feedback.webhook[0]: not the ARN of a topic: "mail"`},
		{"provider = \"scaleway\"\ntopics = [\"arn:scw:sns:fr-par:p:m\"]\nroots_file = \"/dev/null\"\n",
			"feedback.webhook[0]: roots_file /dev/null holds no certificate in PEM"},
	} {
		cfg, err := hookConfig(t, "", tt.hook)
		if err != nil {
			t.Fatal(err)
		}
		err = Check(cfg)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", tt.hook, err)
		}
	}
}

// TestBounceMailMistakes: what only the rooms of bounce mail can see names its key.
func TestBounceMailMistakes(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short.key")
	if err := os.WriteFile(short, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ rest, want string }{
		{"[feedback.return_path]\naddress = \"b@bounces.test\"\nupstreams = [\"default\"]\nkey_file = \"" +
			short + "\"\n", "feedback.return_path: return path: a key has 7 bytes"},
		{"[feedback.return_path]\naddress = \"" + strings.Repeat("b", 40) + "@bounces.test\"\n" +
			"upstreams = [\"default\"]\n", "feedback.return_path: return path "},
		{"[[feedback.mailbox]]\nmaildir = \"/m\"\nafter = \"move:a/b\"\n",
			"feedback.mailbox[0]: \"a/b\" is not a folder of a maildir"},
		{"[[feedback.mailbox]]\nhost = \"imap.test\"\nusername = \"u\"\npassword = \"hunter2\"\n" +
			"ca_file = \"" + short + "\"\n", "feedback.mailbox[0]: "},
	} {
		cfg, err := hookConfig(t, "pipe = true\n"+tt.rest)
		if err != nil {
			t.Fatal(err)
		}
		err = Check(cfg)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", tt.rest, err)
		}
	}
}

// memoryJournal keeps reports for a test.
type memoryJournal struct {
	mu   sync.Mutex
	raws []feedback.Raw
}

func (j *memoryJournal) Append(_ context.Context, raw *feedback.Raw) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.raws = append(j.raws, *raw)
	return nil
}

// sources are those of the reports.
func (j *memoryJournal) sources() (list []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, raw := range j.raws {
		list = append(list, raw.Source)
	}
	return list
}

// openHookDoor serves the webhooks of a configuration over TLS or without, and returns their journal and URL.
func openHookDoor(t *testing.T, cfg *config.Config, log *slog.Logger) (*hookDoor, *memoryJournal, string) {
	t.Helper()
	hs, err := newHooks(cfg, sns.NewFetcher(http.DefaultTransport), log)
	if err != nil {
		t.Fatal(err)
	}
	j := &memoryJournal{}
	d := newHookDoor(j, func(string, webhook.Result) {}, log)
	d.use(hs)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var works sync.WaitGroup
	works.Go(func() {
		if err := d.serve(l, cfg.Feedback.TLS, func() *tls.Config { return nil }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { d.shutdown(context.Background()); works.Wait() })
	scheme := "http://"
	if cfg.Feedback.TLS {
		scheme = "https://"
	}
	return d, j, scheme + l.Addr().String()
}

// post sends a request with basic auth and returns code and body of the answer.
func post(t *testing.T, client *http.Client, url, credential, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user, password, ok := strings.Cut(credential, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestHookDoor: each path has its webhook, other paths and requests without proof learn nothing, a request
// that is too long is not kept, and a flood of refusals is not a flood in the log.
func TestHookDoor(t *testing.T) {
	cfg, err := hookConfig(t, "", "provider = \"postmark\"\n"+proofsOf(t, "postmark"),
		"provider = \"brevo\"\nname = \"b\"\npath = \"/x/y\"\ncredential = \"?key=0123456789abcdef\"\n")
	if err != nil {
		t.Fatal(err)
	}
	logged := &smtptest.Buffer{}
	d, j, url := openHookDoor(t, cfg, slog.New(slog.NewTextHandler(logged, nil)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, tt := range []struct {
		path, credential, body string
		code                   int
	}{
		{"/postmark", hookSecret, "{}", 200},
		{"/x/y?key=0123456789abcdef", "", "{}", 200},
		{"/x/y", "", "{}", 429},
		{"/postmark", "hook:wrong", "{}", 401},
		{"/postmark/", hookSecret, "{}", 404},
		{"/", "", "", 404},
		{"/metrics", "", "", 404},
		{"/postmark", hookSecret, strings.Repeat("x", 1<<20+1), 503},
	} {
		if code, body := post(t, client, url+tt.path, tt.credential, tt.body); code != tt.code || body != "" {
			t.Errorf("%s: %d %q, not %d", tt.path, code, body, tt.code)
		}
	}
	if got := j.sources(); fmt.Sprint(got) != "[postmark b]" {
		t.Errorf("the journal has reports of %v", got)
	}
	for range 20 {
		post(t, client, url+"/postmark", "hook:wrong", "{}")
	}
	if n := strings.Count(logged.String(), "result=unproven"); n != 2 { // one of each webhook
		t.Errorf("%d lines for 22 requests without proof:\n%s", n, logged)
	}
	if strings.Contains(logged.String(), "0123456789abcdef") {
		t.Errorf("a secret is in the log:\n%s", logged)
	}
	d.now = func() time.Time { return time.Now().Add(2 * quietFor) }
	if left, ok := d.quiet.ask("postmark unproven", d.now()); !ok || left != 20 {
		t.Errorf("after a while: %v, %d were left out", ok, left)
	}
}

// TestHookDoorHangsUp: who proves nothing cannot hold a connection, of which there are few.
func TestHookDoorHangsUp(t *testing.T) {
	cfg, err := hookConfig(t, "", "provider = \"postmark\"\n"+proofsOf(t, "postmark"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, url := openHookDoor(t, cfg, slog.New(slog.DiscardHandler))
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(hookSecret))
	for _, tt := range []struct {
		method, path, authorization string
		closed                      bool
	}{
		{http.MethodPost, "/postmark", basic, false},
		{http.MethodPost, "/postmark", "", true},
		{http.MethodHead, "/postmark", "", true},
		{http.MethodGet, "/postmark", basic, true},
		{http.MethodGet, "/", "", true},
	} {
		req, err := http.NewRequest(tt.method, url+tt.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", tt.authorization)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Close != tt.closed {
			t.Errorf("%s %s, answered %d: closed is %v", tt.method, tt.path, resp.StatusCode, resp.Close)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// TestHookDoorTLS: with a certificate of its own, by HTTP/1.1 alone.
func TestHookDoorTLS(t *testing.T) {
	cert := smtptest.NewCertificate(t, "localhost")
	dir := t.TempDir()
	for name, pem := range map[string][]byte{"crt": cert.CertPEM, "key": cert.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := hookConfig(t, fmt.Sprintf("tls = true\ncert_file = %q\nkey_file = %q\n",
		filepath.Join(dir, "crt"), filepath.Join(dir, "key")),
		"provider = \"postmark\"\n"+proofsOf(t, "postmark"))
	if err != nil {
		t.Fatal(err)
	}
	_, j, url := openHookDoor(t, cfg, slog.New(slog.DiscardHandler))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: cert.Pool, ServerName: "localhost"}}}
	if code, _ := post(t, client, url+"/postmark", hookSecret, "{}"); code != 200 || len(j.sources()) != 1 {
		t.Errorf("code %d, journal %v", code, j.sources())
	}
}

// TestWebhookURL: what is shown has no secret in it; what Mandrill signs has.
func TestWebhookURL(t *testing.T) {
	for _, tt := range []struct{ credential, shown, signed string }{
		{"", "https://h.example/in/mandrill", "https://h.example/in/mandrill"},
		{"u:0123456789abcde@", "https://u:SECRET@h.example/in/mandrill",
			"https://u:0123456789abcde%40@h.example/in/mandrill"},
		{"?k=0123456789abcdef", "https://h.example/in/mandrill?k=SECRET",
			"https://h.example/in/mandrill?k=0123456789abcdef"},
		{"X-Key: 0123456789abcdef", "https://h.example/in/mandrill", "https://h.example/in/mandrill"},
	} {
		hook := "provider = \"mandrill\"\nsigning_key = \"k\"\n"
		if tt.credential != "" {
			hook += "credential = \"" + tt.credential + "\"\n"
		}
		cfg, err := hookConfig(t, "public_url = \"https://h.example/in/\"\n", hook)
		if err != nil {
			t.Fatal(err)
		}
		w := &cfg.Feedback.Webhook[0]
		shown, signed := query.WebhookURL(cfg, w, false), query.WebhookURL(cfg, w, true)
		if shown != tt.shown ||
			signed != tt.signed {
			t.Errorf("%q: %s and %s", tt.credential, shown, signed)
		}
		var b bytes.Buffer
		if err := query.WriteSetUp(&b, cfg); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if !strings.Contains(text, tt.shown) || strings.Contains(text, "0123456789abcde") {
			t.Errorf("%q: %s", tt.credential, text)
		}
	}
}

// settingsOf are what a relay must be told to believe what the sender of a provider's events sends.
func settingsOf(t *testing.T, provider string) events.Settings {
	t.Helper()
	s, err := events.New(events.Options{Provider: provider, URL: "https://hooks.example", Key: "key"})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := s.Settings()
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// TestHookDoorLimits: a stranger that goes on has to wait, at all webhooks, and the provider has not; the log
// says who it is.
func TestHookDoorLimits(t *testing.T) {
	cfg, err := hookConfig(t, "", "provider = \"postmark\"\n"+proofsOf(t, "postmark"),
		"provider = \"brevo\"\nname = \"b\"\ncredential = \"?key=0123456789abcdef\"\n")
	if err != nil {
		t.Fatal(err)
	}
	logged := &smtptest.Buffer{}
	_, j, url := openHookDoor(t, cfg, slog.New(slog.NewTextHandler(logged, nil)))
	from := func(client, path, credential string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", client)
		user, password, _ := strings.Cut(credential, ":")
		req.SetBasicAuth(user, password)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	codes := map[int]int{}
	for range config.FeedbackFailures + 10 {
		codes[from("192.0.2.1", "/postmark", "hook:wrong")]++
	}
	if codes[401] < config.FeedbackFailures || codes[429] == 0 || codes[401]+codes[429] != 30 {
		t.Errorf("answers to the stranger: %v", codes)
	}
	if code := from("192.0.2.1", "/brevo?key=0123456789abcdef", ""); code != 429 {
		t.Errorf("the stranger at another webhook: %d", code)
	}
	if code := from("198.51.100.7", "/postmark", hookSecret); code != 200 {
		t.Errorf("the provider: %d", code)
	}
	if got := j.sources(); fmt.Sprint(got) != "[postmark]" {
		t.Errorf("the journal has reports of %v", got)
	}
	if text := logged.String(); strings.Count(text, "result=limited") != 2 || !strings.Contains(text,
		"too many requests without proof came from 192.0.2.1") {
		t.Errorf("the log:\n%s", text)
	}
}
