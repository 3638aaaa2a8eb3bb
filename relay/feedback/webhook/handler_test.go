package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook/limit"
)

// memory is a Journal for tests.
type memory struct {
	mu   sync.Mutex
	raws []feedback.Raw
	fail error
	hang bool // until the context is done
}

func (m *memory) Append(ctx context.Context, raw *feedback.Raw) error {
	if m.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.raws = append(m.raws, *raw)
	}
	return m.fail
}

// kept are the reports in the journal.
func (m *memory) kept() []feedback.Raw {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]feedback.Raw(nil), m.raws...)
}

// door is a handler on a real socket.
type door struct {
	t       *testing.T
	url     string
	journal *memory
	results chan Result
	errs    chan error
}

// open starts a handler, changed by edit.
func open(t *testing.T, s Source, f Fetcher, edit func(*Handler)) *door {
	t.Helper()
	d := &door{t: t, journal: &memory{}, results: make(chan Result, 10), errs: make(chan error, 10)}
	h := &Handler{
		Hook: hookOf(t, s, f), Journal: d.journal, MaxBody: 1 << 20, Timeout: 2 * time.Second,
		Slots: make(chan struct{}, 10),
		Limit: &limit.Limit{
			Burst: 3, Every: time.Second, Most: 10, Now: func() time.Time { return testTime },
		},
		Now: func() time.Time { return testTime },
		Record: func(r Result, err error) {
			d.results <- r
			d.errs <- err
		},
	}
	if edit != nil {
		edit(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// send makes a request, and returns the answer's code, body and header.
func (d *door) send(method string, r *Request) (int, string, http.Header) {
	d.t.Helper()
	req, err := http.NewRequest(method, d.url+"/hook?"+r.Query.Encode(), bytes.NewReader(r.Body))
	if err != nil {
		d.t.Fatal(err)
	}
	if r.Header != nil {
		req.Header = r.Header
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// result is what the handler recorded last.
func (d *door) result() Result { return <-d.results }

// TestAnswers are each provider's: taken, not proved, not kept, too long.
func TestAnswers(t *testing.T) {
	want := map[string]struct{ refused, later int }{
		"azure": {503, 503}, "brevo": {429, 429}, "mailersend": {401, 503}, "mailgun": {401, 503},
		"mailjet": {401, 503}, "mandrill": {401, 503}, "postmark": {401, 503}, "resend": {401, 503},
		"scaleway": {503, 503}, "sendgrid": {401, 503}, "ses": {503, 503}, "smtp2go": {401, 503},
		"sparkpost": {401, 503},
	}
	for _, name := range Providers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a body that is too long delays the end of its connection
			d := open(t, sourceOf(name), &fakeFetcher{}, func(h *Handler) { h.MaxBody = 8 << 10 })
			genuine := signedRequest(t, name, testTime)
			code, body, _ := d.send("POST", genuine)
			if code != 200 || body != "" || d.result() != ResultTaken {
				t.Errorf("genuine: %d %q", code, body)
			}
			kept := d.journal.kept()
			if len(kept) != 1 || !bytes.Equal(kept[0].Body, genuine.Body) || kept[0].Unproven ||
				kept[0].Source != name+"-hook" || kept[0].Provider != name || !kept[0].Time.Equal(testTime) {
				t.Errorf("journal: %+v", kept)
			}
			code, body, _ = d.send("POST", &Request{Body: []byte(`{"event":"bounce"}`)})
			if code != want[name].refused || body != "" || d.result() != ResultUnproven {
				t.Errorf("unproven: %d %q", code, body)
			}
			code, _, _ = d.send("POST", &Request{Header: genuine.Header, Body: make([]byte, 9<<10)})
			if code != want[name].later || d.result() != ResultTooLarge {
				t.Errorf("too large: %d", code)
			}
			d.journal.fail = errors.New("disk full")
			code, body, _ = d.send("POST", genuine)
			if code != want[name].later || body != "" || d.result() != ResultFailed {
				t.Errorf("disk full: %d %q", code, body)
			}
			if n := len(d.journal.kept()); n != 1 {
				t.Errorf("%d reports in the journal", n)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	d := open(t, sourceOf("mandrill"), nil, nil)
	if code, _, _ := d.send("HEAD", &Request{}); code != 200 {
		t.Errorf("HEAD: %d", code)
	}
	if code, _, header := d.send("GET", &Request{}); code != 405 || header.Get("Allow") != "HEAD, POST" {
		t.Errorf("GET: %d %v", code, header)
	}
	if _, _, header := d.send("POST", &Request{}); header.Get("WWW-Authenticate") == "" {
		t.Error("401 without a challenge") // RFC 9110, 15.5.2
	}
	if len(d.journal.kept()) != 0 {
		t.Error("something was kept")
	}
}

// TestAnswersInTime lets the journal hang, and the sender stop in the middle of the body.
func TestAnswersInTime(t *testing.T) {
	const timeout = 400 * time.Millisecond
	d := open(t, sourceOf("brevo"), nil, func(h *Handler) { h.Timeout = timeout })
	d.journal.hang = true
	started := time.Now()
	if code, _, _ := d.send("POST", signedRequest(t, "brevo", testTime)); code != 429 {
		t.Errorf("the journal hangs: %d", code)
	}
	if took := time.Since(started); took > 4*timeout {
		t.Errorf("the journal hangs: answered after %v", took)
	}
	if d.result() != ResultFailed {
		t.Error("not recorded as failed")
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * timeout)) // should the handler wait for ever
	fmt.Fprintf(conn, "POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{")
	started = time.Now()
	answer, err := io.ReadAll(conn)
	if took := time.Since(started); took > 4*timeout || err != nil {
		t.Errorf("the sender stops: after %v, %v", took, err)
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 429 ")) || d.result() != ResultCut {
		t.Errorf("the sender stops: %q", answer)
	}
}

// TestCrowded answers by the provider's own code for later when no slot becomes free, and gives its own back.
func TestCrowded(t *testing.T) {
	slots := make(chan struct{}, 1)
	d := open(t, sourceOf("brevo"), nil, func(h *Handler) {
		h.Slots, h.Timeout = slots, 100*time.Millisecond
	})
	slots <- struct{}{}
	if code, _, _ := d.send("POST", signedRequest(t, "brevo", testTime)); code != 429 {
		t.Errorf("without a slot: %d", code)
	}
	if result := d.result(); result != ResultFailed {
		t.Errorf("without a slot: %s", result)
	}
	<-slots
	for range 2 {
		if code, _, _ := d.send("POST", signedRequest(t, "brevo", testTime)); code != 200 {
			t.Errorf("with a slot: %d", code)
		}
	}
}

// TestKeptBeforeAnswered looks from within Append at what has been answered: nothing yet.
func TestKeptBeforeAnswered(t *testing.T) {
	answer := &writer{header: http.Header{}}
	early := true
	h := &Handler{
		Hook: newHook(t, "postmark"), MaxBody: 1 << 20, Timeout: time.Second,
		Slots: make(chan struct{}, 1), Limit: &limit.Limit{Most: 1, Now: time.Now},
		Journal: journalFunc(func(context.Context, *feedback.Raw) error {
			early = answer.touched
			return nil
		}),
		Now: func() time.Time { return testTime }, Record: func(Result, error) {},
	}
	signed := signedRequest(t, "postmark", testTime)
	r := httptest.NewRequest("POST", "/hook", bytes.NewReader(signed.Body))
	r.Header = signed.Header
	h.ServeHTTP(answer, r)
	if early || !answer.touched || answer.code != 200 {
		t.Errorf("answered before it was kept: %v; code %d", early, answer.code)
	}
}

// writer is a ResponseWriter that tells whether anything was written.
type writer struct {
	header  http.Header
	touched bool
	code    int
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(code int) { w.touched, w.code = true, code }

func (w *writer) Write(b []byte) (int, error) {
	w.touched = true
	return len(b), nil
}

type journalFunc func(context.Context, *feedback.Raw) error

func (f journalFunc) Append(ctx context.Context, raw *feedback.Raw) error { return f(ctx, raw) }

// TestUndecided keeps what cannot be proved while the certificate's host is down, and proves it later.
func TestUndecided(t *testing.T) {
	fetcher := &fakeFetcher{down: true}
	d := open(t, sourceOf("ses"), fetcher, nil)
	body := signSNS(t, notification(testTopic, "published"))
	if code, _, _ := d.send("POST", &Request{Body: body}); code != 200 || d.result() != ResultUndecided {
		t.Errorf("code %d", code)
	}
	kept := d.journal.kept()
	if len(kept) != 1 || !kept[0].Unproven {
		t.Fatalf("journal: %+v", kept)
	}
	hook := hookOf(t, sourceOf("ses"), fetcher)
	if err := hook.ProveRaw(t.Context(), &kept[0], testTime); !errors.Is(err, ErrUndecided) {
		t.Errorf("while down: %v", err)
	}
	fetcher.down = false
	if err := hook.ProveRaw(t.Context(), &kept[0], testTime); err != nil {
		t.Errorf("once up: %v", err)
	}
	kept[0].Body = bytes.Replace(body, []byte("published"), []byte("forged"), 1)
	if err := hook.ProveRaw(t.Context(), &kept[0], testTime); !errors.Is(err, ErrUnproven) {
		t.Errorf("altered: %v", err)
	}
}

// TestConfirmation confirms the subscription of a configured topic, on the service's host, and no other.
func TestConfirmation(t *testing.T) {
	const host = "sns.eu-west-1.amazonaws.com"
	elsewhere := confirmation(testTopic, "sns.eu-west-1.amazonaws.com.evil.example")
	other := confirmation(testTopic, host)
	other["SubscribeURL"] = "https://" + host + "/?Action=Publish&TopicArn=" + testTopic
	foreign := confirmation("arn:aws:sns:eu-west-1:9:mail", host)
	ours := signSNS(t, confirmation(testTopic, host))
	altered := bytes.Replace(ours, []byte("Token=t"), []byte("Token=u"), 1)
	cancelled := confirmation(testTopic, host)
	cancelled["Type"] = "UnsubscribeConfirmation" // whoever confirms it subscribes again
	for _, c := range []struct {
		why       string
		body      []byte
		fetcher   *fakeFetcher
		code      int
		result    Result
		confirmed bool
	}{
		{"ours", ours, &fakeFetcher{}, 200, ResultSetUp, true},
		{"another's topic", signSNS(t, foreign), &fakeFetcher{}, 503, ResultUnproven, false},
		{"another host", signSNS(t, elsewhere), &fakeFetcher{}, 503, ResultFailed, false},
		{"another action", signSNS(t, other), &fakeFetcher{}, 503, ResultFailed, false},
		{"the host is down", ours, &fakeFetcher{down: true}, 503, ResultFailed, false},
		{"it cannot be confirmed", ours, &fakeFetcher{deaf: true}, 503, ResultFailed, false},
		{"cancelled", signSNS(t, cancelled), &fakeFetcher{}, 200, ResultTaken, false},
		{"altered", altered, &fakeFetcher{}, 503, ResultUnproven, false},
	} {
		d := open(t, sourceOf("ses"), c.fetcher, nil)
		code, _, _ := d.send("POST", &Request{Body: c.body})
		if result := d.result(); code != c.code || result != c.result {
			t.Errorf("%s: %d, %s", c.why, code, result)
		}
		if _, confirmed := c.fetcher.calls(); (len(confirmed) == 1) != c.confirmed || len(confirmed) > 1 {
			t.Errorf("%s: confirmed %v", c.why, confirmed)
		}
		if kept := d.journal.kept(); (len(kept) == 1) != (c.result == ResultTaken) {
			t.Errorf("%s: journal %v", c.why, kept)
		}
	}
}

// TestScalewayConfirmation confirms on Scaleway's own host.
func TestScalewayConfirmation(t *testing.T) {
	fetcher := &fakeFetcher{}
	d := open(t, sourceOf("scaleway"), fetcher, nil)
	body := signSNS(t, confirmation(scalewayTopic, "sns.mnq.fr-par.scaleway.com"))
	code, _, _ := d.send("POST", &Request{Body: body})
	asked, confirmed := fetcher.calls()
	if code != 200 || len(confirmed) != 1 || len(asked) != 1 {
		t.Errorf("%d, asked %v, confirmed %v", code, asked, confirmed)
	}
}

// TestAzureHandshake returns the code, to whoever presents the secret.
func TestAzureHandshake(t *testing.T) {
	d := open(t, sourceOf("azure"), nil, nil)
	r := signedRequest(t, "azure", testTime)
	r.Header.Set("Aeg-Event-Type", "SubscriptionValidation")
	r.Body = []byte(`[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent",` +
		`"data":{"validationCode":"512d38b6\"<","validationUrl":"https://evil.example/"}}]`)
	code, body, header := d.send("POST", r)
	var answer struct{ ValidationResponse string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 ||
		answer.ValidationResponse != `512d38b6"<` || header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %q %v", code, body, header)
	}
	if d.result() != ResultSetUp || len(d.journal.kept()) != 0 {
		t.Error("not recorded as set up")
	}
	r.Header.Del("Authorization")
	if code, body, _ := d.send("POST", r); code != 503 || body != "" || d.result() != ResultUnproven {
		t.Errorf("without the secret: %d %q", code, body)
	}
	r = signedRequest(t, "azure", testTime)
	r.Header.Set("Aeg-Event-Type", "SubscriptionValidation")
	if code, _, _ := d.send("POST", r); code != 503 || d.result() != ResultFailed {
		t.Errorf("without a code: %d", code)
	}
}

// TestJournalledHeader keeps what reading needs, and no secret.
func TestJournalledHeader(t *testing.T) {
	d := open(t, sourceOf("resend"), nil, nil)
	d.send("POST", signedRequest(t, "resend", testTime))
	s := open(t, sourceOf("smtp2go"), nil, nil)
	r := signedRequest(t, "smtp2go", testTime)
	r.Header.Set("Content-Type", "application/json")
	s.send("POST", r)
	for _, c := range []struct {
		kept       []feedback.Raw
		name, want string
	}{{d.journal.kept(), "Svix-Id", "msg_1"}, {s.journal.kept(), "Content-Type", "application/json"}} {
		if len(c.kept) != 1 || len(c.kept[0].Header) != 1 || c.kept[0].Header[c.name] != c.want {
			t.Errorf("%s: %+v", c.name, c.kept)
		}
	}
}

// TestTooManyWithoutProof: a client that goes on without proof is told to wait, by a code on which its
// provider tries again, and is not examined; others are, and so is whoever waited. A proof clears the client.
func TestTooManyWithoutProof(t *testing.T) {
	want := map[string]int{"azure": 503, "ses": 503, "scaleway": 503} // which give up on some of 4xx
	for _, name := range Providers() {
		t.Run(name, func(t *testing.T) {
			var ahead atomic.Int64
			now := func() time.Time { return testTime.Add(time.Duration(ahead.Load())) }
			d := open(t, sourceOf(name), &fakeFetcher{}, func(h *Handler) { h.Limit.Now = now })
			genuine := signedRequest(t, name, testTime)
			from := func(client string, r *Request) (int, Result, string) {
				t.Helper()
				header := http.Header{}
				maps.Copy(header, r.Header)
				header.Set("X-Forwarded-For", client)
				code, _, answer := d.send("POST", &Request{Header: header, Query: r.Query, Body: r.Body})
				return code, d.result(), answer.Get("Retry-After")
			}
			forged := &Request{Body: []byte(`{"event":"bounce"}`)}
			for range 3 {
				if code, result, _ := from("192.0.2.1", forged); result != ResultUnproven {
					t.Fatalf("forged: %d %s", code, result)
				}
			}
			code, result, after := from("192.0.2.1", forged)
			if code != cmp.Or(want[name], 429) || result != ResultLimited || after != "1" {
				t.Errorf("too many: %d %s, after %q", code, result, after)
			}
			if code, result, _ := from("198.51.100.7", genuine); code != 200 || result != ResultTaken {
				t.Errorf("from elsewhere: %d %s", code, result)
			}
			ahead.Store(int64(time.Second))
			if code, result, _ := from("192.0.2.1", genuine); code != 200 || result != ResultTaken {
				t.Errorf("after a while: %d %s", code, result)
			}
			for range 3 {
				if code, result, _ := from("192.0.2.1", forged); result != ResultUnproven {
					t.Errorf("after a proof: %d %s", code, result)
				}
			}
		})
	}
}
