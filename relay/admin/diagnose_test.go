package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
)

// explainer is a server that explains refusals, and nothing else.
func explainer(t testing.TB) *httptest.Server {
	t.Helper()
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Diagnose: e.Diagnose})
	if err != nil {
		t.Fatal(err)
	}
	h := s.known(nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(asOperator(r.Context())))
	}))
	t.Cleanup(server.Close)
	return server
}

// ask posts a body to /v1/diagnose.
func ask(t testing.TB, server *httptest.Server, body string) (int, []byte) {
	t.Helper()
	resp, err := server.Client().Post(server.URL+"/v1/diagnose", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func TestDiagnoseOne(t *testing.T) {
	server := explainer(t)
	for _, tt := range []struct {
		body             string
		category, reason string
	}{
		{`{"reply":"550 5.1.1 <a@b.test>: user unknown","stage":"rcpt"}`, "Invalid Address", "user_unknown"},
		{`{"reply":"550-5.1.1 The account does not\r\n550 5.1.1 exist"}`, "Invalid Address", "user_unknown"},
		{`{"reply":"535 5.7.8 Authentication failed","stage":"auth"}`, "Recipient Error", "auth_failed"},
		{`{"text":"mailbox is full"}`, "Mailbox Full", "mailbox_full"},
		{`{"stage":"remote","provider":"mailjet","provider_type":"hard_bounce","text":"user unknown"}`,
			"Invalid Address", "user_unknown"},
	} {
		status, b := ask(t, server, tt.body)
		var x Explained
		if err := json.Unmarshal(b, &x); err != nil || status != http.StatusOK || x.Diagnosis == nil {
			t.Errorf("%s: %d %s (%v)", tt.body, status, b, err)
			continue
		}
		if string(x.Category) != tt.category || string(x.Reason) != tt.reason || len(x.Fix) == 0 {
			t.Errorf("%s: %s, %s, fix %q; want %s, %s", tt.body, x.Category, x.Reason, x.Fix, tt.category,
				tt.reason)
		}
	}
}

// A list is answered in its order, and what cannot be read does not keep the rest from being answered.
func TestDiagnoseList(t *testing.T) {
	status, b := ask(t, explainer(t), `[{"reply":"552 5.2.2 mailbox full"},{"reply":"hello"},null,
		{"reply":"421 4.7.0 try later","host":"mx.example.com","final":true}]`)
	var list []Explained
	if err := json.Unmarshal(b, &list); err != nil || status != http.StatusOK || len(list) != 4 {
		t.Fatalf("%d %s (%v)", status, b, err)
	}
	if list[0].Code != 552 || list[0].Enhanced != "5.2.2" || list[0].Category != diagnose.MailboxFull {
		t.Errorf("the first: %+v", list[0])
	}
	for _, i := range []int{1, 2} {
		if list[i].Diagnosis != nil || !strings.Contains(list[i].Error, "begins with a code") {
			t.Errorf("%d: %+v", i, list[i])
		}
	}
	if list[3].Code != 421 || list[3].Diagnosis == nil {
		t.Errorf("the last: %+v", list[3])
	}
}

func TestDiagnoseRefuses(t *testing.T) {
	server := explainer(t)
	many := "[" + strings.Repeat(`{"text":"x"},`, maxRefusals) + `{"text":"x"}]`
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"nothing", "", 400, "the body is empty"},
		{"no JSON", "550 user unknown", 400, "not the JSON that was expected"},
		{"a field that is not known", `{"replies":"550 x"}`, 400, `unknown field \"replies\"`},
		{"two values", `{"reply":"550 x"}{"reply":"550 x"}`, 400, "goes on behind its value"},
		{"no reply", `{"stage":"rcpt"}`, 400, "begins with a code"},
		{"both", `{"reply":"550 x","text":"x"}`, 400, "exclude each other"},
		{"a stage that is not known", `{"reply":"550 x","stage":"recipient"}`, 400, "use one of connect,"},
		{"too many", many, 400, "of at most 1000"},
		{"too large", `{"reply":"550 ` + strings.Repeat("x", maxBody) + `"}`, 413, "more than 4194304 bytes"},
	} {
		status, b := ask(t, server, tt.body)
		if status != tt.status || !bytes.Contains(b, []byte(tt.want)) {
			t.Errorf("%s: %d %s; want %d and %q", tt.name, status, b, tt.status, tt.want)
		}
	}
	resp, err := server.Client().Get(server.URL + "/v1/diagnose")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
}

// BenchmarkDiagnose asks for batches of 100 replies on one connection that is kept; client and server share
// the processors.
func BenchmarkDiagnose(b *testing.B) {
	const batch = 100
	server := explainer(b)
	var list []Refusal
	for i := range batch {
		texts := [...]string{
			"550 5.1.1 <user%d@example.com>: Recipient address rejected: User unknown in virtual table",
			"452 4.2.2 The recipient's inbox is out of storage space (user%d)",
			"421 4.7.0 [192.0.2.%d] Our system has detected an unusual rate of unsolicited mail",
			"554 5.7.1 Service unavailable; Client host [192.0.2.%d] blocked using zen.spamhaus.org",
		}
		list = append(list, Refusal{Reply: fmt.Sprintf(texts[i%len(texts)], i), Stage: diagnose.StageRcpt})
	}
	body, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if status, answer := ask(b, server, string(body)); status != http.StatusOK {
			b.Fatalf("%d %s", status, answer)
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "replies/s")
}
