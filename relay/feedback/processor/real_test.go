package processor

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/webhook"
	"mailwhy/relay/feedback/webhook/limit"
	"mailwhy/relay/spool/sqlite"
)

// TestRealRooms: a provider's request comes through its webhook's own door, about a message in the real spool
// whose final dot was never answered. It is settled there and not offered again, and the bounce is explained
// by the real engine.
func TestRealRooms(t *testing.T) {
	w := newWorld(t)
	w.pass(time.Since(begins)) // the spool goes by the machine's clock
	spool, err := sqlite.Open(sqlite.Options{Dir: filepath.Join(t.TempDir(), "spool"),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, err := webhook.New(webhook.Source{
		Name: "mail", Provider: "postmark", Credentials: []string{"hook:a-secret-of-some-length"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.source["mail"] = Source{Read: hook.Read, Prove: hook.ProveRaw, Proven: true}
	w.p.o.Spool, w.p.o.Diagnose = spool, engine.Diagnose
	door := httptest.NewServer(&webhook.Handler{
		Hook: hook, Journal: w.store, MaxBody: 1 << 20, Timeout: 10 * time.Second, Now: w.clock,
		Slots: make(chan struct{}, 1), Limit: new(limit.Limit), Record: func(webhook.Result, error) {},
	})
	defer door.Close()

	m := w.message("b@x.example")
	content := strings.NewReader("Subject: x\r\n\r\n")
	if err := spool.Put(t.Context(), []*relay.Message{m}, content); err != nil {
		t.Fatal(err)
	}
	lease := relay.LeaseQuery{Lane: "default", Now: w.clock(), Max: 1, For: time.Minute}
	leases, _, err := spool.Lease(t.Context(), lease)
	if err != nil || len(leases) != 1 {
		t.Fatalf("leased %v, %v", leases, err)
	}
	r := leases[0].Message.Recipients
	r[0].State, r[0].NextAttempt = relay.Deferred, w.clock().Add(30*time.Minute)
	r[0].Last = &relay.Attempt{Time: w.clock().Add(-time.Minute), Upstream: "default", Uncertain: true,
		Stage: diagnose.StageEndOfData, NetErr: diagnose.NetErr{Kind: diagnose.NetReset}}
	if err := spool.Settle(t.Context(), leases[0].Token, relay.Settlement{Recipients: r}); err != nil {
		t.Fatal(err)
	}

	body := fmt.Sprintf(`{"RecordType":"Bounce","ID":42,"Type":"HardBounce","MessageID":"u-1",`+
		`"Metadata":{"mw":%q},"Email":"b@x.example",`+
		`"Details":"smtp;550 5.1.1 The email account that you tried to reach does not exist",`+
		`"BouncedAt":%q}`, m.ID, w.clock().UTC().Format(time.RFC3339))
	for range 3 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, door.URL,
			strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("hook", "a-secret-of-some-length")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("the door answers %s", response.Status)
		}
	}
	for range 4 {
		w.round()
		w.pass(15 * time.Second)
	}

	list := w.recorded(relay.EventBounced)
	if len(list) != 1 || list[0].ID != m.ID || list[0].Diagnosis.Reason != "user_unknown" ||
		list[0].Feedback.Provider != "postmark" || list[0].Feedback.Trust != relay.TrustProven {
		t.Fatalf("recorded %+v", w.events)
	}
	lease.Now = w.clock().Add(24 * time.Hour)
	if leases, _, err := spool.Lease(t.Context(), lease); err != nil || len(leases) != 0 {
		t.Errorf("the message is offered again: %v, %v", leases, err)
	}
	if st, err := spool.Stat(t.Context()); err != nil || st.Messages != 0 {
		t.Errorf("the spool holds %+v, %v", st, err)
	}
	if n := w.owed(); n != 1 || w.state(m) != feedback.StateBounced {
		t.Errorf("%d notices are owed, state %s", n, w.state(m))
	}
}
