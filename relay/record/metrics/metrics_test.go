package metrics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record/metrics/metricstest"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// fresh is a Metrics of one upstream with an empty spool, that knows clients and two reasons.
func fresh(clients ...string) *Metrics {
	return freshWith(func(context.Context) (Spool, error) {
		return Spool{
			relay.SpoolStat{Messages: 3, Bytes: 4096, Owed: 2, Oldest: noon.Add(-time.Minute)},
			&relay.LocalStat{FreeBytes: 1e9},
		}, nil
	}, clients...)
}

// freshWith is fresh with a spool that answers so.
func freshWith(queue func(context.Context) (Spool, error), clients ...string) *Metrics {
	m := New(optionsOf(queue))
	m.Know(Names{
		Upstreams: []string{"default"}, Clients: clients,
		Reasons:  []diagnose.Reason{"mailbox_full", "user_unknown"},
		Refusals: []diagnose.Reason{"auth_failed"}, Providers: []string{"ses", "postmark"},
	})
	return m
}

// optionsOf are Options with everything on, and a spool that answers so.
func optionsOf(queue func(context.Context) (Spool, error)) Options {
	return Options{
		Queue: queue,
		Lanes: func() []relay.LaneState {
			return []relay.LaneState{{Name: "default", Paused: true, Limit: 20, Rate: 2.5}}
		},
		Logins: func() []Login {
			return []Login{{Upstream: "default", TokenIssued: noon.Add(-time.Minute), LastSuccess: noon,
				SecretExpires: noon.Add(time.Hour)}, {Upstream: "other"}}
		},
		Now: func() time.Time { return noon }, Version: "v1", GoVersion: "go1",
		Webhooks: func() []relay.WebhookState {
			return []relay.WebhookState{
				{Name: "crm", Requests: make([]uint64, len(relay.WebhookResults()))},
				{Name: "shop", State: relay.WebhookDisabled, Backlog: 3, Oldest: noon.Add(-time.Hour),
					Events: 7, Lost: 2, Requests: []uint64{7, 1, 0, 0, 0, 0, 0}},
			}
		},
		Feedback: func() FeedbackState {
			return FeedbackState{Waiting: 4, Due: 3, Age: 90 * time.Second, Kept: 2, Remembered: 5}
		},
		Suppressions: func() relay.SuppressionListState {
			return relay.SuppressionListState{Entries: map[diagnose.Reason]int64{"user_unknown": 6}, Noted: 7,
				Tripped: map[string]time.Time{"default": noon}, Fault: errors.New("damaged")}
		},
	}
}

// pageOf is what a scraper gets.
func pageOf(m *Metrics) string {
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// read parses the page of m.
func read(t *testing.T, m *Metrics) metricstest.Page {
	t.Helper()
	text := pageOf(m)
	p, err := metricstest.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// mailboxFull is the event of a recipient whose mailbox is full.
func mailboxFull(kind relay.EventKind) relay.Event {
	return relay.Event{
		Kind: kind, Client: "shop", Lane: "default", To: "joe@example.test",
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full"},
		Tried:     &relay.Attempt{Stage: diagnose.StageRcpt, Duration: 30 * time.Millisecond},
	}
}

// TestRecord: each event is counted where it belongs, and what is zero is there from the start.
func TestRecord(t *testing.T) {
	m := fresh("shop")
	before := read(t, m)
	relayed := relay.Event{Kind: relay.EventRelayed, Lane: "default", Delay: 2 * time.Second,
		Tried: &relay.Attempt{Stage: diagnose.StageEndOfData, Duration: time.Second}}
	sweep := mailboxFull(relay.EventExpired)
	for _, e := range []relay.Event{
		{Kind: relay.EventAccepted, First: true, Client: "shop"}, {Kind: relay.EventAccepted, Client: "shop"},
		{Kind: relay.EventAccepted, First: true, Client: "192.0.2.1"},
		{Kind: relay.EventRefused, First: true, Client: "192.0.2.2",
			Diagnosis: &diagnose.Diagnosis{Reason: "auth_failed"}},
		{Kind: relay.EventRefused, Client: "192.0.2.2"}, // of another recipient of the same content
		relayed, mailboxFull(relay.EventDeferred), mailboxFull(relay.EventFailed), sweep,
		{Kind: relay.EventHeld, Lane: "default"}, {Kind: relay.EventQuarantined, Lane: "gone"},
		{Kind: relay.EventDelayed},
		{Kind: relay.EventDSN, First: true, DSNKind: relay.NoticeFailed},
		{Kind: relay.EventDSN, DSNKind: relay.NoticeFailed},
		{Kind: relay.EventLane, Lane: "default", State: "paused"},
	} {
		m.Record(e)
	}
	p := read(t, m)
	p.Expect(t, map[string]float64{
		`mailwhy_messages_accepted_total{client="shop"}`:                                           1,
		`mailwhy_recipients_accepted_total{client="shop"}`:                                         2,
		`mailwhy_messages_accepted_total{client="unnamed"}`:                                        1,
		`mailwhy_refused_total{client="unnamed"}`:                                                  1,
		`mailwhy_refused_total{client="shop"}`:                                                     0,
		`mailwhy_refused_reasons_total{reason="auth_failed"}`:                                      1,
		`mailwhy_recipients_total{event="relayed",upstream="default",category="none"}`:             1,
		`mailwhy_recipients_total{event="deferred",upstream="default",category="Mailbox Full"}`:    1,
		`mailwhy_recipients_total{event="failed",upstream="default",category="Mailbox Full"}`:      1,
		`mailwhy_recipients_total{event="expired",upstream="default",category="Mailbox Full"}`:     1,
		`mailwhy_recipients_total{event="failed",upstream="default",category="Blocked"}`:           0,
		`mailwhy_recipients_total{event="held",upstream="default",category="none"}`:                1,
		`mailwhy_recipients_total{event="quarantined",upstream="other",category="none"}`:           1,
		`mailwhy_recipient_reasons_total{event="failed",upstream="default",reason="mailbox_full"}`: 1,
		`mailwhy_bounces_total{kind="failed"}`:                                                     1,
		`mailwhy_bounces_total{kind="delayed"}`:                                                    0,
		`mailwhy_lane_events_total{upstream="default",state="paused"}`:                             1,
		`mailwhy_lane_paused{upstream="default"}`:                                                  1,
		`mailwhy_oauth_token_age_seconds{upstream="default"}`:                                      60,
		`mailwhy_oauth_last_success_timestamp_seconds{upstream="default"}`: float64(
			noon.Unix()),
		`mailwhy_credential_expiry_timestamp_seconds{upstream="default",credential="client_secret"}`: float64(
			noon.Add(time.Hour).Unix()),
		`mailwhy_lane_connections_limit{upstream="default"}`: 20,
		`mailwhy_lane_rate_limit{upstream="default"}`:        2.5,
		// not of what was given up untried
		`mailwhy_attempt_duration_seconds_count{upstream="default"}`:             3,
		`mailwhy_attempt_duration_seconds_bucket{upstream="default",le="0.025"}`: 0,
		`mailwhy_attempt_duration_seconds_bucket{upstream="default",le="0.05"}`:  2,
		`mailwhy_attempt_duration_seconds_bucket{upstream="default",le="1"}`:     3,
		`mailwhy_attempt_duration_seconds_sum{upstream="default"}`:               1.06,
		`mailwhy_message_delay_seconds_count{upstream="default"}`:                1,
		`mailwhy_message_delay_seconds_bucket{upstream="default",le="5"}`:        1,
		`mailwhy_queue_messages`: 3, `mailwhy_queue_bytes`: 4096, `mailwhy_queue_notices`: 2,
		`mailwhy_queue_oldest_age_seconds`: 60, `mailwhy_spool_free_bytes`: 1e9,
		`mailwhy_build_info{version="v1",goversion="go1"}`: 1,
	})
	for series := range before {
		if _, ok := p[series]; !ok {
			t.Errorf("%s went away", series)
		}
	}
}

// TestBound: whatever comes, the number of series is bounded, and nothing of a stranger's making becomes a
// label.
func TestBound(t *testing.T) {
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprint("user", i))
	}
	m := fresh(names...)
	strange := func() {
		for i := range 5000 {
			stranger := fmt.Sprint("stranger", i)
			for _, kind := range append(outcomes[:], relay.EventAccepted, relay.EventRefused, relay.EventLane,
				relay.EventKind(stranger)) {
				e := mailboxFull(kind)
				e.First = true
				e.Client, e.Lane, e.User, e.From, e.To, e.State = stranger, stranger, stranger, stranger,
					stranger, stranger
				e.Feedback = &relay.Feedback{Source: stranger, Provider: stranger, ProviderType: stranger}
				m.Feedback("webhook", stranger, "matched")
				m.Feedback(stranger, stranger, stranger)
				e.Diagnosis = &diagnose.Diagnosis{Category: diagnose.Category(stranger),
					Reason: diagnose.Reason(stranger)}
				m.Record(e)
			}
		}
	}
	strange()
	first := read(t, m)
	strange()
	m.Know(Names{Clients: names})
	second := read(t, m)
	if !slices.Equal(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second))) {
		t.Errorf("%d series became %d", len(first), len(second))
	}
	if got := strings.Count(pageOf(m), "mailwhy_refused_total{"); got != maxNames+1 {
		t.Errorf("%d clients, want %d", got, maxNames+1)
	}
	for series := range second {
		if strings.Contains(series, "stranger") {
			t.Errorf("a stranger's word: %s", series)
		}
	}
	second.Expect(t, map[string]float64{
		`mailwhy_refused_total{client="unnamed"}`:                                         10000,
		`mailwhy_recipient_reasons_total{event="failed",upstream="other",reason="other"}`: 10000,
		`mailwhy_recipients_total{event="failed",upstream="other",category="none"}`:       10000,
	})
}

// TestNames: any name that a configuration may hold stands escaped, and none makes a series twice or a page
// that does not parse.
func TestNames(t *testing.T) {
	odd := `a"b\c` + "\nd}"
	m := fresh(odd, "unnamed", "", "\xfe", "\xff", "büro", odd)
	for _, name := range []string{odd, "unnamed", "", "\xff", "büro"} {
		m.Record(relay.Event{Kind: relay.EventRefused, First: true, Client: name})
	}
	read(t, m).Expect(t, map[string]float64{
		`mailwhy_refused_total{client="a\"b\\c\nd}"}`: 1,
		`mailwhy_refused_total{client="büro"}`:        1,
		`mailwhy_refused_total{client="unnamed"}`:     3,
	})
}

// TestReload: a name that is no longer configured keeps its count; a new one begins at 0.
func TestReload(t *testing.T) {
	m := fresh("shop")
	m.Record(relay.Event{Kind: relay.EventRefused, First: true, Client: "shop"})
	m.Know(Names{Clients: []string{"cron"}})
	m.Record(relay.Event{Kind: relay.EventRefused, First: true, Client: "cron"})
	read(t, m).Expect(t, map[string]float64{
		`mailwhy_refused_total{client="shop"}`: 1, `mailwhy_refused_total{client="cron"}`: 1,
		`mailwhy_refused_total{client="unnamed"}`: 0,
	})
}

// TestConcurrent: nothing is lost while others record, scrape and reload.
func TestConcurrent(t *testing.T) {
	m := fresh("shop")
	const each, workers = 2000, 8
	var works sync.WaitGroup
	for range workers {
		works.Go(func() {
			for range each {
				m.Record(relay.Event{Kind: relay.EventAccepted, First: true, Client: "shop"})
				m.Record(mailboxFull(relay.EventFailed))
			}
		})
	}
	works.Go(func() {
		for i := range 50 {
			m.Know(Names{Clients: []string{fmt.Sprint("user", i)}})
			read(t, m)
		}
	})
	works.Wait()
	const all = each * workers
	read(t, m).Expect(t, map[string]float64{
		`mailwhy_messages_accepted_total{client="shop"}`:                                           all,
		`mailwhy_recipient_reasons_total{event="failed",upstream="default",reason="mailbox_full"}`: all,
		`mailwhy_attempt_duration_seconds_count{upstream="default"}`:                               all,
	})
}

// TestStuckSpool: a spool that never answers costs the page its gauges, and one goroutine, not one a scrape.
func TestStuckSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		never := make(chan struct{})
		m := freshWith(func(context.Context) (Spool, error) {
			asked.Add(1)
			<-never
			return Spool{}, nil
		}, "shop")
		for range 3 {
			began := time.Now()
			p := read(t, m)
			if took := time.Since(began); took != statTimeout {
				t.Errorf("a scrape took %v", took)
			}
			if _, there := p["mailwhy_queue_messages"]; there {
				t.Error("a gauge that nobody measured")
			}
			p.Expect(t, map[string]float64{`mailwhy_refused_total{client="shop"}`: 0})
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("the spool was asked %d times", n)
		}
		close(never)
		synctest.Wait()
		read(t, m).Expect(t, map[string]float64{"mailwhy_queue_messages": 0,
			"mailwhy_queue_oldest_age_seconds": 0})
	})
}

// TestBrokenSpool: an answer that is an error is not a measurement.
func TestBrokenSpool(t *testing.T) {
	m := freshWith(func(context.Context) (Spool, error) {
		return Spool{}, errors.New("broken")
	})
	if _, there := read(t, m)["mailwhy_queue_messages"]; there {
		t.Error("a gauge of a spool that is broken")
	}
}

// TestVocabulary: the labels are those that the rest of the relay uses.
func TestVocabulary(t *testing.T) {
	e, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var want []diagnose.Category
	for _, c := range e.Categories() {
		want = append(want, c.Name)
	}
	if got := slices.Sorted(slices.Values(categories[1:])); !slices.Equal(got,
		slices.Sorted(slices.Values(want))) {
		t.Errorf("categories %q, want %q", got, want)
	}
	if n := len(e.Reasons()); n == 0 || n > maxNames {
		t.Errorf("%d reasons do not fit", n)
	}
}

// hot are the two events of a message that passes, and one of a message that does not.
func hot() []relay.Event {
	return []relay.Event{
		{Kind: relay.EventAccepted, First: true, Client: "shop", Lane: "default"},
		{Kind: relay.EventRelayed, Client: "shop", Lane: "default", Delay: time.Second,
			Tried: &relay.Attempt{Stage: diagnose.StageEndOfData, Duration: 20 * time.Millisecond}},
		mailboxFull(relay.EventFailed),
	}
}

// TestRecordAllocates: an event costs no memory.
func TestRecordAllocates(t *testing.T) {
	m, events := fresh("shop"), hot()
	var r relay.Recorder = m
	if n := testing.AllocsPerRun(100, func() {
		for _, e := range events {
			r.Record(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	var r relay.Recorder = fresh("shop", "cron", "web")
	for _, e := range hot() {
		b.Run(string(e.Kind), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Record(e)
			}
		})
	}
}

func BenchmarkPage(b *testing.B) {
	m := fresh("shop", "cron", "web")
	b.ReportAllocs()
	for b.Loop() {
		pageOf(m)
	}
}

// TestSuppressions: what the list holds is shown, and what was suppressed or would have been is counted.
func TestSuppressions(t *testing.T) {
	m := fresh()
	m.Suppressed(false, false)
	m.Suppressed(true, false)
	m.Suppressed(true, false)
	m.Suppressed(true, true)
	page := pageOf(m)
	for _, want := range []string{
		`mailwhy_suppressed_total{mode="enforce",result="suppressed"} 1`,
		`mailwhy_suppressed_total{mode="observe",result="refused"} 2`,
		`mailwhy_suppressed_total{mode="observe",result="taken"} 1`,
		`mailwhy_suppression_entries{reason="user_unknown"} 6`, `mailwhy_suppression_noted 7`,
		`mailwhy_suppression_breaker{upstream="default"} 1`, `mailwhy_suppression_unavailable 1`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
