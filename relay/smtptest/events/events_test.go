package events_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/smtptest/events"
)

const (
	queueID = "0KX3A4B5C6D7E8F9G0H1J2K3"
	hook    = "https://hooks.example/events"
)

// testMail has the header of an application, our Received field, and the tags that an upstream room may add
// for any of the providers.
func testMail() *events.Mail {
	return &events.Mail{
		ID: "0102019ab-practice-000000", From: "app@shop.example", To: []string{"b@x.example"},
		Header: []byte("Received: from app (app [10.0.0.7]) by relay.shop.example (mailwhy)\r\n" +
			"\twith ESMTP id " + queueID + "; Fri, 28 Nov 2025 12:00:00 +0000\r\n" +
			"X-SES-CONFIGURATION-SET: main\r\nX-SES-MESSAGE-TAGS: a=b, mw=" + queueID + "\r\n" +
			`X-SMTPAPI: {"unique_args":{"mw":"` + queueID + `"}}` + "\r\n" +
			`X-Mailgun-Variables: {"mw":"` + queueID + `"}` + "\r\n" +
			"X-PM-Metadata-mw: " + queueID + "\r\n" +
			`X-MSYS-API: {"metadata":{"mw":"` + queueID + `"}}` + "\r\n" +
			"X-MJ-CustomID: " + queueID + "\r\n" +
			`X-MC-Metadata: {"mw":"` + queueID + `"}` + "\r\n" +
			"Subject: hello\r\nMessage-ID: <1@shop.example>\r\n\r\n"),
	}
}

// fetcher gives the practice certificate, as a rehearsal does.
type fetcher struct{ chain []*x509.Certificate }

func (f fetcher) Certificates(context.Context, string) ([]*x509.Certificate, error) {
	return f.chain, nil
}
func (f fetcher) Confirm(context.Context, string) error { return nil }

// testSigner makes a signer, once.
var testSigner = sync.OnceValue(func() *events.Signer {
	s, err := events.NewSigner(time.Now())
	if err != nil {
		panic(err)
	}
	return s
})

func newSender(t *testing.T, provider, url string) *events.Sender {
	t.Helper()
	s, err := events.New(events.Options{Provider: provider, URL: url, Signer: testSigner(), Speed: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hookFor is a webhook that believes what a sender sends.
func hookFor(t *testing.T, provider string) (*events.Sender, *webhook.Hook) {
	t.Helper()
	signer := testSigner()
	s, err := events.New(events.Options{Provider: provider, URL: hook, Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.Settings()
	if err != nil {
		t.Fatal(err)
	}
	source := webhook.Source{Name: provider, Provider: provider}
	if set.SigningKey != "" {
		source.Keys = []string{set.SigningKey}
	}
	if set.Credential != "" {
		source.Credentials = []string{set.Credential}
	}
	if set.SignsURL {
		source.URL = hook
	}
	f := fetcher{}
	if set.Topic != "" {
		source.Topics, source.Roots = []string{set.Topic}, x509.NewCertPool()
		source.Roots.AppendCertsFromPEM(signer.PEM)
		block, _ := pem.Decode(signer.PEM)
		own, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		f.chain = []*x509.Certificate{own}
	}
	h, err := webhook.New(source, f)
	if err != nil {
		t.Fatalf("%s: %v", provider, err)
	}
	return s, h
}

// want is what a provider's events are expected to hold.
type want struct {
	untold []events.Kind
	quotes bool     // the reply of a failure
	keys   []string // kind and value
}

func wants() map[string]want {
	tag, id := "queue_id "+queueID, "provider_id 0102019ab-practice-000000"
	message := "message_id 1@shop.example"
	noDelay := []events.Kind{events.Retrying}
	return map[string]want{
		"azure": {untold: []events.Kind{events.Retrying, events.Complained}, quotes: true,
			keys: []string{message}},
		"brevo":      {quotes: true, keys: []string{id}},
		"mailersend": {untold: []events.Kind{events.Retrying, events.Dropped}},
		"mailgun":    {quotes: true, keys: []string{tag, message}},
		"mailjet":    {keys: []string{tag}},
		"mandrill":   {quotes: true, keys: []string{tag}},
		"postmark":   {quotes: true, keys: []string{tag}},
		"resend":     {keys: []string{id, message}},
		"scaleway":   {untold: []events.Kind{events.Complained}, quotes: true, keys: []string{tag, message}},
		"sendgrid":   {quotes: true, keys: []string{tag, message}},
		"ses":        {quotes: true, keys: []string{tag, id, message}},
		"smtp2go":    {untold: noDelay, quotes: true, keys: []string{message}},
		"sparkpost":  {quotes: true, keys: []string{tag}},
	}
}

// TestRoundTrip: what is sent for every provider and every kind proves itself to the webhook, and is read as
// what was meant.
func TestRoundTrip(t *testing.T) {
	if !slices.Equal(events.Providers(), webhook.Providers()) {
		t.Errorf("events of %v, webhooks of %v", events.Providers(), webhook.Providers())
	}
	replies := map[events.Kind]string{
		events.Retrying: "452 4.2.2 The mailbox is full", events.Delivered: "250 2.0.0 Ok",
		events.Bounced: "550 5.1.1 No such user here",
	}
	for _, provider := range events.Providers() {
		w := wants()[provider]
		s, h := hookFor(t, provider)
		for _, kind := range events.Kinds() {
			now := time.Now().Truncate(time.Millisecond)
			e := &events.Event{Kind: kind, Recipient: "b@x.example", Reply: replies[kind], Time: now,
				Host: "mx.x.example"}
			r, err := s.Request(t.Context(), testMail(), e, now)
			if slices.Contains(w.untold, kind) {
				if !errors.Is(err, events.ErrUntold) {
					t.Errorf("%s, %s: %v", provider, kind, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got := prove(t, h, r, now)
			check(t, provider, w, e, got)
		}
	}
}

// prove has a request proved and read, and one with another body refused.
func prove(t *testing.T, h *webhook.Hook, r *http.Request, now time.Time) []feedback.Event {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	request := &webhook.Request{Header: r.Header, Query: r.URL.Query(), Body: body}
	if err := h.Prove(t.Context(), request, now); err != nil {
		t.Fatalf("%s: %v\n%s", r.Header.Get("User-Agent"), err, body)
	}
	bare := &webhook.Request{Header: http.Header{}, Body: body[1:]}
	if err := h.Prove(t.Context(), bare, now); !errors.Is(err, webhook.ErrUnproven) {
		t.Errorf("%s: proved without proof: %v", r.Header.Get("User-Agent"), err)
	}
	header := map[string]string{}
	for name := range r.Header {
		header[name] = r.Header.Get(name)
	}
	got, err := h.Read(&feedback.Raw{Header: header, Body: body})
	if err != nil || len(got) != 1 {
		t.Fatalf("%s: %d events, %v\n%s", r.Header.Get("User-Agent"), len(got), err, body)
	}
	return got
}

// check compares an event with what was meant.
func check(t *testing.T, provider string, w want, sent *events.Event, all []feedback.Event) {
	t.Helper()
	got := all[0]
	if string(got.Kind) != string(sent.Kind) || got.Recipient != sent.Recipient || got.ID == "" {
		t.Errorf("%s: sent %+v, read %+v", provider, sent, got)
	}
	if d := got.Time.Sub(sent.Time); provider != "resend" && (d > time.Second || d < -time.Second) {
		t.Errorf("%s, %s: told %v, read %v", provider, sent.Kind, sent.Time, got.Time)
	}
	if failed := sent.Kind == events.Bounced || sent.Kind == events.Retrying; failed {
		quoted := diagnose.ParseReply(got.Reply).Code != 0
		if quoted != w.quotes || w.quotes && got.Reply != sent.Reply {
			t.Errorf("%s, %s: reply %q", provider, sent.Kind, got.Reply)
		}
	}
	for _, key := range w.keys {
		kind, value, _ := strings.Cut(key, " ")
		if !slices.ContainsFunc(got.Keys, func(k feedback.Key) bool {
			return string(k.Kind) == kind && k.Value == value
		}) {
			t.Errorf("%s, %s: key %s is missing: %v", provider, sent.Kind, key, got.Keys)
		}
	}
}

// TestNoTag: without a tag in the header none is made up.
func TestNoTag(t *testing.T) {
	m := testMail()
	m.Header = []byte("Message-ID: <1@shop.example>\r\nX-SMTPAPI: {\r\nX-MC-Metadata: []\r\n\r\n")
	for _, provider := range events.Providers() {
		s, h := hookFor(t, provider)
		now := time.Now()
		e := &events.Event{Kind: events.Bounced, Recipient: "b@x.example", Reply: "550 No", Time: now}
		r, err := s.Request(t.Context(), m, e, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range prove(t, h, r, now)[0].Keys {
			if k.Kind == feedback.KeyQueueID {
				t.Errorf("%s: key %v", provider, k)
			}
		}
	}
}

// recorder is a webhook that answers as it is told.
type recorder struct {
	mu     sync.Mutex
	codes  []int // the last one for all that follow
	bodies []string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b, _ := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, string(b))
	w.WriteHeader(r.codes[min(len(r.bodies), len(r.codes))-1])
}

// TestRetries: each provider tries again where it is known to, and gives up where it is known to.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		provider string
		codes    []int
		tries    int
		taken    bool
	}{
		{"ses", []int{503}, 4, false}, // and then it is lost
		{"ses", []int{500, 200}, 2, true},
		{"ses", []int{401}, 1, false},
		{"ses", []int{429, 204}, 2, true},
		{"brevo", []int{503}, 1, false},
		{"brevo", []int{429, 200}, 2, true},
		{"mailgun", []int{401, 500, 200}, 3, true},
		{"mailgun", []int{406}, 1, false},
		{"postmark", []int{401, 200}, 2, true},
		{"postmark", []int{403}, 1, false},
		{"mailjet", []int{204, 204, 200}, 3, true}, // only 200 is success
		{"sparkpost", []int{202, 200}, 2, true},
		{"mailersend", []int{500}, 3, false},
		{"azure", []int{413}, 1, false},
		{"sendgrid", []int{302, 200}, 2, true},
		{"resend", []int{500, 200}, 2, true},
	} {
		web := &recorder{codes: c.codes}
		server := httptest.NewServer(web)
		s := newSender(t, c.provider, server.URL)
		e := &events.Event{Kind: events.Bounced, Recipient: "b@x.example", Reply: "550 No", Time: time.Now()}
		var tries []events.Try
		err := s.Send(t.Context(), testMail(), e, func(t events.Try) { tries = append(tries, t) })
		server.Close()
		if err != nil || len(tries) != c.tries || tries[len(tries)-1].Taken != c.taken {
			t.Errorf("%s, %v: %+v, %v", c.provider, c.codes, tries, err)
		}
		slices.Sort(web.bodies)
		if n := len(slices.Compact(web.bodies)); n != 1 {
			t.Errorf("%s: %d different bodies for one event", c.provider, n)
		}
	}
}

// TestUnreachable: no answer is tried again too, the URL's secret is in no error, and the context ends it.
func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s, err := events.New(events.Options{Provider: "brevo", URL: server.URL + "/?k=secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e := &events.Event{Kind: events.Bounced, Recipient: "b@x.example", Reply: "550 No", Time: time.Now()}
	err = s.Send(ctx, testMail(), e, func(try events.Try) {
		if try.Err == nil || strings.Contains(try.Err.Error(), "secret") || try.Next != 10*time.Minute {
			t.Errorf("%+v", try)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAsked(t *testing.T) {
	now := time.Now()
	for to, want := range map[string]events.Event{
		"late-550-5.1.1@any.test":       {Kind: events.Bounced, Reply: "550 5.1.1 Practice reply"},
		"Late-550@any.test":             {Kind: events.Bounced, Reply: "550 Practice reply"},
		"late-452-4.2.2+x@any.test":     {Kind: events.Bounced, Reply: "452 4.2.2 Practice reply"},
		"late-delay-452-4.2.2@any.test": {Kind: events.Retrying, Reply: "452 4.2.2 Practice reply"},
		"delivered+1@any.test":          {Kind: events.Delivered, Reply: "250 2.0.0 Practice reply"},
		"dropped@any.test":              {Kind: events.Dropped},
		"complaint@any.test":            {Kind: events.Complained},
	} {
		want.Recipient, want.Host, want.Time = to, "mx.any.test", now
		if got, ok := events.Asked("a@shop.example", to, now); !ok || got != want {
			t.Errorf("%s: %+v, %v", to, got, ok)
		}
	}
	for _, to := range []string{
		"550-5.1.1@any.test", "late@any.test", "late-@any.test", "late-250@any.test", "late-drop@any.test",
		"late-nothing@any.test", "bob@any.test", "", "late-550-5.1@any.test",
	} {
		if e, ok := events.Asked("a@shop.example", to, now); ok {
			t.Errorf("%s: %+v", to, e)
		}
	}
	if e, ok := events.Asked("a@shop.example", "late-unknown@any.test", now); !ok ||
		!strings.HasPrefix(e.Reply, "550-5.1.1 The email account") {
		t.Errorf("a named case: %+v, %v", e, ok)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		o    events.Options
		want string
	}{
		{events.Options{Provider: "gmail", URL: hook}, "there are those of azure"},
		{events.Options{Provider: "brevo", URL: "hooks.example"}, "not the URL"},
		{events.Options{Provider: "brevo", URL: "ftp://hooks.example"}, "not the URL"},
		{events.Options{Provider: "ses", URL: hook}, "a signer"},
		{events.Options{Provider: "ses", URL: hook, Signer: testSigner()}, ""},
	} {
		_, err := events.New(c.o)
		if c.want == "" && err != nil ||
			c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

// TestMandrillCredential: the signature is over the URL with what else was entered in it.
func TestMandrillCredential(t *testing.T) {
	for credential, entered := range map[string]string{
		"practice:a-long-enough-secret":  "https://practice:a-long-enough-secret@hooks.example/events",
		"?k=a-long-enough-secret":        hook + "?k=a-long-enough-secret",
		"X-Secret: a-long-enough-secret": hook,
	} {
		s, err := events.New(events.Options{Provider: "mandrill", URL: hook, Key: "k",
			Credential: credential})
		if err != nil {
			t.Fatal(err)
		}
		h, err := webhook.New(webhook.Source{Name: "m", Provider: "mandrill", Keys: []string{"k"},
			Credentials: []string{credential}, URL: entered}, nil)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		e := &events.Event{Kind: events.Complained, Recipient: "b@x.example", Time: now}
		r, err := s.Request(t.Context(), testMail(), e, now)
		if err != nil {
			t.Fatal(err)
		}
		prove(t, h, r, now)
	}
}
