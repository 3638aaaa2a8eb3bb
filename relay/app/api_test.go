package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mailwhy/diagnose"
	"mailwhy/relay/admin"
	"mailwhy/relay/admin/access"
	"mailwhy/relay/smtptest"
)

// apiScene is a relay with all that the API speaks of: mail that waits, was refused and was relayed, a list,
// feedback, a webhook.
type apiScene struct {
	*scene
	token string // with the scope write
	doc   *jsonschema.Compiler
	asked map[string]bool // the operations that answered 200
}

// newAPIScene starts it. The upstream defers mail to slow.test and refuses that to dead.test.
func newAPIScene(t *testing.T) *apiScene {
	t.Helper()
	s := &apiScene{scene: newScene(t, "postmark", "pipe = true\n"), asked: map[string]bool{}}
	s.stop()
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	s.conf += "[admin]\nlisten = \"127.0.0.1:0\"\n[page]\nhistory = \"on\"\n" +
		fmt.Sprintf("[[webhook]]\nname = \"shop\"\n"+
			"url = \"%s?key=hidden-key\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n", hook.URL) +
		"[[policy]]\nname = \"full\"\nreasons = [\"mailbox_full\"]\nattempts = 5\naction = \"hold\"\n"
	s.script(func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage == diagnose.StageRcpt && strings.Contains(c.Line, "@slow.test"):
			return smtptest.Action{Reply: "452 4.2.2 Mailbox full"}
		case c.Stage == diagnose.StageRcpt && strings.Contains(c.Line, "@dead.test"):
			return smtptest.Action{Reply: "550 5.1.1 User unknown"}
		}
		return smtptest.Action{}
	})
	s.start()
	<-s.app.Ready()
	s.token = s.newToken("tests", access.Write)
	return s
}

// newToken makes a token.
func (s *apiScene) newToken(name string, scopes ...access.Scope) string {
	s.t.Helper()
	token, err := access.Create(s.load().Admin.TokensFile, name, scopes, time.Now(), time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// request makes a request of the scene's token.
func (s *apiScene) request(method, path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.app.APIAddr().String()+path,
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	return r
}

// do sends a request and returns the answer's status and body.
func (s *apiScene) do(r *http.Request) (int, []byte) {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, b
}

// ok asks for an operation of the document, whose answer is to be 200 and as the document has it, and reads
// it into v, unless that is nil. path may have a query.
func (s *apiScene) ok(operation, path, body string, v any) {
	s.t.Helper()
	method, pattern, _ := strings.Cut(operation, " ")
	status, b := s.do(s.request(method, path, body))
	if status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", operation, status, b)
	}
	s.asked[operation] = true
	if s.doc == nil {
		s.compile(b)
	}
	if !json.Valid(b) {
		return // a file
	}
	place := "#/paths/" + strings.ReplaceAll(pattern, "/", "~1") + "/" + strings.ToLower(method) +
		"/responses/200/content/application~1json/schema"
	schema, err := s.doc.Compile("mem:///api.json" + place)
	if err != nil {
		s.t.Fatalf("%s: %v", operation, err)
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err == nil {
		err = schema.Validate(answer)
	}
	if err != nil {
		s.t.Errorf("%s: the answer is not as the document has it: %v\n%s", operation, err, b)
	}
	if v != nil {
		if err := json.Unmarshal(b, v); err != nil {
			s.t.Fatalf("%s: %v", operation, err)
		}
	}
}

// compile reads the document, and makes it so strict that an answer may have no field that is not in it.
func (s *apiScene) compile(doc []byte) {
	s.t.Helper()
	var d map[string]any
	if err := json.Unmarshal(doc, &d); err != nil {
		s.t.Fatal(err)
	}
	for _, def := range d["components"].(map[string]any)["schemas"].(map[string]any) {
		if m := def.(map[string]any); m["properties"] != nil {
			m["additionalProperties"] = false
		}
	}
	s.doc = jsonschema.NewCompiler()
	s.doc.DefaultDraft(jsonschema.Draft2020)
	s.doc.AssertFormat()
	if err := s.doc.AddResource("mem:///api.json", d); err != nil {
		s.t.Fatal(err)
	}
}

// operations are all of the document.
func (s *apiScene) operations() (all []string) {
	_, b := s.do(s.request(http.MethodGet, "/v1/openapi.json", ""))
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		s.t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	return all
}

// TestAPI asks a running relay for every operation of the document, and holds each answer against it.
func TestAPI(t *testing.T) {
	s := newAPIScene(t)
	s.ok("GET /v1/openapi.json", "/v1/openapi.json", "", nil)
	s.askRelay()
	relayed := s.askQueue()
	history := "/v1/messages/" + relayed + "/history"
	smtptest.WaitFor(t, "the message to be remembered", func() bool {
		status, _ := s.do(s.request(http.MethodGet, history, ""))
		return status == http.StatusOK
	})
	s.ok("GET /v1/messages/{id}/history", history, "", nil)
	s.askSuppressions()
	s.askFeedback()
	s.askWebhooks()
	s.askEvents()
	if log := s.logged.String(); !strings.Contains(log,
		`msg="changed over the API" by=tests request="POST /v1/queue/drop"`) {
		t.Error("the log does not say who dropped the queue")
	}
	for _, operation := range s.operations() {
		if !s.asked[operation] {
			t.Errorf("%s was never asked for", operation)
		}
	}
}

// askRelay asks what is about the relay as a whole.
func (s *apiScene) askRelay() {
	s.t.Helper()
	var h admin.Health
	s.ok("GET /v1/health", "/v1/health", "", &h)
	if !h.OK || len(h.Lanes) != 1 {
		s.t.Errorf("health %+v", h)
	}
	var c admin.Settings
	s.ok("GET /v1/config", "/v1/config", "", &c)
	text := fmt.Sprint(c)
	if !strings.Contains(text, "upstream.default.host \"127.0.0.1\"") || strings.Contains(text, "whsec_") ||
		strings.Contains(text, "hidden-key") {
		s.t.Errorf("configuration %s", text)
	}
	s.ok("GET /v1/upstreams", "/v1/upstreams", "", nil)
	s.ok("GET /v1/upstreams/{name}", "/v1/upstreams/default", "", nil)
	s.ok("POST /v1/upstreams/{name}/probe", "/v1/upstreams/default/probe", "", nil)
	var x admin.Explained
	s.ok("POST /v1/diagnose", "/v1/diagnose", `{"reply": "550 5.1.1 user unknown"}`, &x)
	if x.Reason != "user_unknown" {
		s.t.Errorf("explained as %q", x.Reason)
	}
	s.ok("POST /v1/diagnose", "/v1/diagnose", `[{"reply": "452 4.2.2 mailbox full"}, {"reply": "?"}]`, nil)
	var p admin.PolicyAnswer
	s.ok("POST /v1/policies/test", "/v1/policies/test", `{"reply": "452 4.2.2 mailbox full", "attempt": 5}`,
		&p)
	if p.Policy != "full" || p.Outcome != "held" {
		s.t.Errorf("policy %+v", p)
	}
}

// askQueue asks what is about messages, and returns the id of one that was relayed.
func (s *apiScene) askQueue() (relayed string) {
	s.t.Helper()
	for i := range 3 {
		s.submit(fmt.Sprintf("a%d@slow.test", i))
	}
	relayed = relayedID(s, "b@ok.test")
	var page admin.QueuePage
	smtptest.WaitFor(s.t, "three deferred messages", func() bool {
		s.ok("GET /v1/queue", "/v1/queue?state=deferred&category=Mailbox+Full", "", &page)
		return len(page.Messages) == 3
	})
	var first admin.QueuePage
	s.ok("GET /v1/queue", "/v1/queue?limit=2", "", &first)
	var rest admin.QueuePage
	s.ok("GET /v1/queue", "/v1/queue?limit=2&after="+first.Next, "", &rest)
	if len(first.Messages) != 2 || len(rest.Messages) != 1 || rest.Next != "" {
		s.t.Errorf("pages %+v, %+v", first, rest)
	}
	var sum admin.QueueSummary
	s.ok("GET /v1/queue/summary", "/v1/queue/summary", "", &sum)
	if sum.Messages != 3 || sum.States["deferred"] != 3 || sum.Upstreams["default"] != 3 ||
		sum.Categories["Mailbox Full"] != 3 {
		s.t.Errorf("summary %+v", sum)
	}
	id := page.Messages[0].ID
	s.ok("GET /v1/messages/{id}", "/v1/messages/"+id, "", nil)
	for _, action := range []string{"hold", "release", "retry", "drop"} {
		s.ok("POST /v1/messages/{id}/"+action, "/v1/messages/"+id+"/"+action, "", nil)
		var all admin.Outcomes
		s.ok("POST /v1/queue/"+action, "/v1/queue/"+action,
			`{"recipient": "@slow.test", "upstream": "default"}`, &all)
		if len(all.Outcomes) < 2 {
			s.t.Errorf("%s: %+v", action, all)
		}
	}
	s.ok("GET /v1/queue", "/v1/queue", "", &page)
	if len(page.Messages) != 0 {
		s.t.Errorf("after a drop of all: %+v", page)
	}
	return relayed
}

// relayedID submits a mail, and returns its queue id once it was relayed.
func relayedID(s *apiScene, to string) (id string) {
	s.t.Helper()
	s.send(to)
	smtptest.WaitFor(s.t, "the event relayed", func() bool {
		for line := range strings.Lines(s.log.String()) {
			var e struct{ Event, ID, To string }
			if json.Unmarshal([]byte(line), &e) == nil && e.Event == "relayed" && e.To == to {
				id = e.ID
			}
		}
		return id != ""
	})
	return id
}

// askSuppressions asks what is about the suppression list.
func (s *apiScene) askSuppressions() {
	s.t.Helper()
	var results admin.SuppressionResults
	s.ok("POST /v1/suppressions", "/v1/suppressions", `{"entries": [{"address": "jane@x.test"},
		{"address": "joe/x@x.test", "scope": "shop.test", "reason": "spam_complaint", "note": "by phone"},
		{"address": "nobody"}]}`, &results)
	if len(results.Results) != 3 || results.Results[0].Change != "created" || results.Results[2].Error == "" {
		s.t.Errorf("results %+v", results)
	}
	var page, next admin.SuppressionPage
	s.ok("GET /v1/suppressions", "/v1/suppressions?limit=1", "", &page)
	s.ok("GET /v1/suppressions", "/v1/suppressions?limit=1&after="+page.Next, "", &next)
	if len(page.Suppressions) != 1 || len(next.Suppressions) != 1 || next.Next != "" ||
		next.Suppressions[0].Note != "by phone" {
		s.t.Errorf("pages %+v, %+v", page, next)
	}
	joe := "/v1/suppressions/" + url.PathEscape("joe/x@x.test")
	s.ok("GET /v1/suppressions/{address}", joe, "", &page)
	s.ok("GET /v1/suppressions/state", "/v1/suppressions/state", "", nil)
	var in admin.Imported
	s.ok("POST /v1/suppressions/import", "/v1/suppressions/import", "address,code,error,created_at\n"+
		"a@dead.test,550,550 5.1.1 no such user,\nb@full.test,452,452 4.2.2 mailbox full,\nnobody,,,\n", &in)
	if in.Added != 1 || in.NotAbout != 1 || in.Bad != 1 || len(in.Lines) != 2 {
		s.t.Errorf("imported %+v", in)
	}
	s.ok("GET /v1/suppressions/export", "/v1/suppressions/export", "", nil)
	var gone admin.Removed
	s.ok("DELETE /v1/suppressions/{address}", joe+"?scope=shop.test", "", &gone)
	if status, b := s.do(s.request("GET", joe, "")); gone.Removed != 1 || status != http.StatusNotFound {
		s.t.Errorf("removed %+v, then %d %s", gone, status, b)
	}
}

// askFeedback asks what is about feedback.
func (s *apiScene) askFeedback() {
	s.t.Helper()
	s.ok("POST /v1/feedback/take", "/v1/feedback/take?webhook=postmark", "not JSON", nil)
	s.ok("POST /v1/feedback/mail", "/v1/feedback/mail", "From: a person\r\n\r\nHello!\r\n", nil)
	var page admin.ReportPage
	smtptest.WaitFor(s.t, "the report that cannot be read", func() bool {
		s.ok("GET /v1/feedback", "/v1/feedback?state=unreadable", "", &page)
		return len(page.Reports) == 1
	})
	s.ok("GET /v1/feedback/{id}", fmt.Sprint("/v1/feedback/", page.Reports[0].ID), "", nil)
	var n admin.Count
	s.ok("POST /v1/feedback/replay", fmt.Sprint("/v1/feedback/replay?id=", page.Reports[0].ID), "", &n)
	if n.Reports != 1 {
		s.t.Errorf("replayed %+v", n)
	}
	s.ok("POST /v1/feedback/erase", "/v1/feedback/erase?address=nobody@ok.test", "", nil)
	s.ok("POST /v1/feedback/send", "/v1/feedback/send?webhook=postmark&from=a@shop.test&to=b@ok.test", "",
		nil)
}

// askWebhooks asks what is about webhooks.
func (s *apiScene) askWebhooks() {
	s.t.Helper()
	s.ok("GET /v1/webhooks", "/v1/webhooks", "", nil)
	s.ok("GET /v1/webhooks/{name}", "/v1/webhooks/shop", "", nil)
	s.ok("POST /v1/webhooks/{name}/test", "/v1/webhooks/shop/test", "", nil)
	s.ok("POST /v1/webhooks/{name}/replay", "/v1/webhooks/shop/replay?since=2026-11-29T12:00:00Z", "", nil)
	s.ok("POST /v1/webhooks/{name}/enable", "/v1/webhooks/shop/enable", "", nil)
}

// askEvents follows the events, and then asks for those again that came behind the first.
func (s *apiScene) askEvents() {
	s.t.Helper()
	lines, end := s.follow("/v1/events?event=accepted&event=relayed&client=local", "")
	s.submit("c@ok.test")
	first := nextEvent(s.t, lines)
	second := nextEvent(s.t, lines)
	end()
	if first.kind != "accepted" || second.kind != "relayed" || first.data["to"] != "c@ok.test" {
		s.t.Errorf("events %+v, %+v", first, second)
	}
	again, end := s.follow("/v1/events?event=accepted&event=relayed&client=local", first.id)
	defer end()
	if e := nextEvent(s.t, again); e.id != second.id {
		s.t.Errorf("behind %s comes %+v, not %s", first.id, e, second.id)
	}
	lost, end := s.follow("/v1/events", "another-run-7")
	defer end()
	if e := nextEvent(s.t, lost); e.kind != "missed" {
		s.t.Errorf("with an id of another run: %+v", e)
	}
	s.asked["GET /v1/events"] = true
	var e admin.ErasedEvents
	const erase = "POST /v1/events/erase"
	s.ok(erase, "/v1/events/erase?address=c@ok.test&act=true", "", &e)
	s.ok(erase, "/v1/events/erase?address=c@ok.test", "", &e)
	if status, b := s.do(s.request(http.MethodPost, "/v1/events/erase?address=c", "")); e.Events != 0 ||
		status != http.StatusBadRequest {
		s.t.Errorf("left after the erasure %+v; without a domain %d %s", e, status, b)
	}
}

// streamed is a server-sent event.
type streamed struct {
	id, kind string
	data     map[string]any
}

// follow opens a stream of events behind the event with an id, unless that is "".
func (s *apiScene) follow(path, last string) (lines *bufio.Reader, end func()) {
	s.t.Helper()
	r := s.request(http.MethodGet, path, "")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		s.t.Fatalf("%s: %s %s", path, resp.Status, kind)
	}
	return bufio.NewReader(resp.Body), func() { resp.Body.Close() }
}

// nextEvent reads the next event of a stream.
func nextEvent(t *testing.T, lines *bufio.Reader) (e streamed) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				t.Fatal(err)
			}
			return e
		}
	}
}
