package record

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

var update = flag.Bool("update", false, "write the golden files")

// at is the time of every event here.
var at = time.Date(2026, 11, 23, 9, 18, 0, 123_456_789, time.FixedZone("", 3600))

// refusal is a diagnosis with every field set.
func refusal() *diagnose.Diagnosis {
	return &diagnose.Diagnosis{
		Category: diagnose.MailboxFull, InGuide: true, Reason: "mailbox_full", Cause: "The mailbox is full.",
		Fix: []string{"Wait.", "Ring \"them\" up."}, Evidence: []string{"It is 30 MB."},
		Scope: diagnose.ScopeRecipient,
		Owner: diagnose.OwnerRecipient, Action: diagnose.ActionWait, Basis: diagnose.BasisText,
		Confidence:   diagnose.High,
		Rule:         "mailbox_full.storage",
		Alternatives: []diagnose.Category{diagnose.MailboxIssues, diagnose.Blocked}, Provider: "google",
		RetryAfter: diagnose.Seconds(1500 * time.Millisecond),
		Blocklist: &diagnose.Blocklist{Name: "zen", Lookup: "https://lookup.test/",
			Removal: "https://removal.test/"},
		SizeLimit: 1 << 20, Domain: "sender.test", IP: "192.0.2.1",
		Links: []string{"https://support.test/a?b=c&d=<e>"},
	}
}

// events are one of each sort.
func events() map[string]relay.Event {
	reply := diagnose.ParseReply("452-4.2.2 The recipient's inbox is\r\n452 4.2.2 out of storage space\r\n")
	attempt := func(stage diagnose.Stage, r diagnose.Reply) *relay.Attempt {
		return &relay.Attempt{
			Time: at, Duration: 250 * time.Millisecond, Upstream: "default", Host: "mx.y.test",
			Remote: "192.0.2.9:25", TLS: "TLS1.3",
			Stage: stage, Reply: r,
		}
	}
	base := relay.Event{Time: at, ID: "06FZQ3", MessageID: "<m@app.test>", From: "app@x.test",
		To: "user@y.test", Client: "web", Lane: "default"}
	with := func(k relay.EventKind, change func(*relay.Event)) relay.Event {
		e := base
		e.Kind = k
		change(&e)
		return e
	}
	return map[string]relay.Event{
		"accepted": with(relay.EventAccepted, func(e *relay.Event) {
			e.TraceID, e.SpanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
			e.User, e.Size, e.Route = "app", 4096, "bulk"
			e.Changed, e.Given = []string{"bcc removed", "domain added"}, []string{"old@shop.example"}
		}),
		"relayed": with(relay.EventRelayed, func(e *relay.Event) {
			e.Mail = "06FZQ2"
			e.Attempt, e.Tried = 1,
				attempt(diagnose.StageEndOfData, diagnose.ParseReply("250 2.0.0 Ok: queued as 4F\r\n"))
			e.Tried.UpstreamID = "4F"
		}),
		"deferred": with(relay.EventDeferred, func(e *relay.Event) {
			e.Policy = "full"
			e.Attempt, e.Delay, e.Tried, e.Diagnosis = 2, 90*time.Second, attempt(diagnose.StageRcpt, reply),
				refusal()
			e.NextAttempt = at.Add(5 * time.Minute)
		}),
		"network": with(relay.EventDeferred, func(e *relay.Event) {
			e.Attempt, e.From, e.Tried = 1, "", attempt(diagnose.StageEndOfData, diagnose.Reply{})
			e.Tried.NetErr = diagnose.NetErr{Kind: diagnose.NetReset, Text: "read tcp: connection reset"}
			e.Tried.Uncertain = true
		}),
		"bytes": with(relay.EventFailed, func(e *relay.Event) {
			e.Attempt, e.Tried = 1,
				attempt(diagnose.StageRcpt,
					diagnose.ParseReply("550 5.1.1 Empf\xe4nger \x1b[31munbekannt\u202e\r\n"))
		}),
		"dsn": with(relay.EventDSN, func(e *relay.Event) {
			e.DSN, e.DSNKind, e.Diagnosis = "06FZQ4", relay.NoticeFailed, refusal()
		}),
		"report": {Time: at, Kind: relay.EventDSN, ID: "06FZQ4", To: "app@x.test", Size: 900, DSN: "06FZQ3",
			DSNKind: relay.NoticeFailed, Note: "report on 1 recipient"},
		"lane": {Time: at, Kind: relay.EventLane, Lane: "default", State: "paused",
			Note:        "credentials refused",
			Tried:       attempt(diagnose.StageAuth, diagnose.ParseReply("535 5.7.8 no\r\n")),
			NextAttempt: at.Add(time.Minute)},
		"webhook": {Time: at, Kind: relay.EventWebhook, Webhook: "shop", State: "disabled",
			Note: "answered 410 Gone"},
		"refused": {Time: at, Kind: relay.EventRefused, Client: "192.0.2.77", From: "a@b.test",
			To: "c@d.test", Stage: diagnose.StageRcpt, Reply: "550 5.7.1 Relaying denied"},
		"suppression": relay.SuppressionEvent("renewed", suppression(), at),
		"bounced":     feedbackEvent(relay.EventBounced, "550 5.1.1 No such user\r\n"),
		"retrying":    feedbackEvent(relay.EventRetrying, "452 4.2.2 The mailbox is full\r\n"),
		"delivered":   feedbackEvent(relay.EventDelivered, "250 2.0.0 Ok\r\n"),
		"complained":  feedbackEvent(relay.EventComplained, ""),
		"unquoted":    feedbackEvent(relay.EventBounced, ""),
		"bare":        {Time: at, Kind: relay.EventQuarantined, ID: "06FZQ3", Note: "content damaged"},
	}
}

// suppression is an entry of the suppression list that has everything.
func suppression() *relay.Suppression {
	day := at.UTC().Truncate(24 * time.Hour)
	return &relay.Suppression{
		Address: "user@y.test", Scope: "x.test", State: relay.SuppressionActive, Reason: "user_unknown",
		Source: "session", FirstSeen: day, LastSeen: day.Add(time.Hour), Hits: 3,
		Reply: "550 5.1.1 \u202eunknown\r\n", Message: "06FZQ3", Upstream: "default", Rule: "user-unknown",
		Confidence: diagnose.High, Note: "by hand", Step: 2, Expires: day.Add(30 * 24 * time.Hour),
	}
}

// TestSuppressionIsWhole fills every field, so that one added later cannot be forgotten here.
func TestSuppressionIsWhole(t *testing.T) {
	s := suppression()
	for v, i := reflect.ValueOf(*s), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Number" { // which is not written
			t.Fatalf("suppression() does not set %s", v.Type().Field(i).Name)
		}
	}
	for _, s := range []*relay.Suppression{s, {}} {
		var got relay.Suppression
		if err := json.Unmarshal(appendSuppression(nil, s), &got); err != nil {
			t.Fatal(err)
		}
		if got != *s {
			t.Errorf("got  %+v\nwant %+v", got, *s)
		}
	}
}

// feedbackEvent is an event of a message that was remembered. Without a reply it comes by mail and is matched
// weakly, and of a bounce the enhanced code and the words are told in place of the reply.
func feedbackEvent(kind relay.EventKind, reply string) relay.Event {
	m := &relay.Message{ID: "06FZQ3", Mail: "06FZQ2", MessageID: "<m@app.test>", Lane: "default",
		Envelope: relay.Envelope{From: "app@x.test"}, Client: relay.Client{Name: "web"},
		Arrived: at.Add(-3 * time.Hour)}
	r := &relay.Recipient{Address: "user@y.test", Diagnosis: refusal(), Last: &relay.Attempt{
		Time: at.Add(-time.Minute), Upstream: "default", Host: "mx.y.test", Stage: diagnose.StageRemote,
		Reply: diagnose.ParseReply(reply), UpstreamID: "0102abc", ReportedBy: "mail.provider.test",
	}}
	f := &relay.Feedback{Source: "webhook", Provider: "ses", ProviderType: "Permanent", EventID: "e1",
		Trust: relay.TrustProven, MatchedBy: "queue_id", ReportedAt: at.Add(-30 * time.Second)}
	switch {
	case kind == relay.EventDelivered:
		f.ProviderType = "Delivery"
	case kind == relay.EventRetrying:
		f.ProviderType = "DeliveryDelay"
	case kind == relay.EventComplained:
		f.Source, f.Provider, f.ProviderType, f.Trust, f.MatchedBy = "arf", "fbl.y.test", "abuse",
			relay.TrustWeak, "message_id"
		r.Last.Host = ""
	case reply == "":
		f.Source, f.Provider, f.ProviderType, f.Trust, f.MatchedBy = "dsn", "mx.provider.test", "",
			relay.TrustGuess, "recipient"
		r.Last.Status, r.Last.NetErr.Text = "5.1.1", "There is nobody here by that name."
	}
	return relay.FeedbackEvent(kind, m, r, f, at)
}

// object is e as a reader decodes it.
func object(t *testing.T, e relay.Event) map[string]any {
	t.Helper()
	l := New(&e)
	var o map[string]any
	if err := json.Unmarshal(l.AppendJSON(nil), &o); err != nil {
		t.Fatalf("%v in %s", err, l.AppendJSON(nil))
	}
	return o
}

// TestJSONGolden compares each event with a file; deliverylog tests its text form with the same files.
func TestJSONGolden(t *testing.T) {
	for name, e := range events() {
		written := New(&e)
		got := append(written.AppendJSON(nil), '\n')
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, got, want)
		}
	}
}

// TestUnknownIsLeftOut shows that nothing is written for what is not known, and null and empty never.
func TestUnknownIsLeftOut(t *testing.T) {
	got := object(t, relay.Event{Time: at, Kind: relay.EventLane})
	if want := map[string]any{"v": 1.0, "time": "2026-11-23T08:18:00.123Z",
		"event": "lane"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	for name, e := range events() {
		for field, v := range object(t, e) {
			if v == nil || (v == "" && field != "from") {
				t.Errorf("%s: %s is %v", name, field, v)
			}
		}
	}
}

func TestNullSenderIsKnown(t *testing.T) {
	got := object(t, events()["network"])
	if from, there := got["from"]; !there || from != "" {
		t.Errorf("from is %v, %v", from, there)
	}
	if _, there := object(t, events()["bare"])["from"]; there {
		t.Error("a sender that is not known is written")
	}
}

// TestDiagnosisIsWhole fills every field by reflection, so that one added later cannot be forgotten here.
func TestDiagnosisIsWhole(t *testing.T) {
	d := refusal()
	for v, i := reflect.ValueOf(*d), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("refusal() does not set %s", v.Type().Field(i).Name)
		}
	}
	var got, want any
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(appendDiagnosis(nil, d), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestParseReadsWhatWasWritten holds reader and writer together, field by field.
func TestParseReadsWhatWasWritten(t *testing.T) {
	seen := make(map[string]bool)
	for name, e := range events() {
		want := New(&e)
		got, err := Parse(want.AppendJSON(nil))
		if err != nil {
			t.Fatal(err)
		}
		want.tried = false
		for _, at := range []*time.Time{&want.Time, &want.NextAttempt, &want.ReportedAt} {
			*at = at.UTC().Truncate(time.Millisecond)
		}
		if want.Diagnosis != nil {
			want.Diagnosis.RetryAfter = diagnose.Seconds(2 * time.Second) // rounded up
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
		for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
			seen[v.Type().Field(i).Name] = seen[v.Type().Field(i).Name] || !v.Field(i).IsZero()
		}
	}
	for field, set := range seen {
		if !set && field != "ReplyBase64" && field != "tried" {
			t.Errorf("no event here sets %s", field)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	for _, b := range []string{"", "{", "[]", "{}", `{"v":1}`, `{"event":"relayed"}`,
		`{"v":1,"event":"relayed","time":"x"}`} {
		if _, err := Parse([]byte(b)); err == nil {
			t.Errorf("%q was parsed", b)
		}
	}
	if l, err := Parse([]byte(`{"v":2,"event":"relayed","later":1}`)); err != nil || l.V != 2 {
		t.Errorf("a later version: %+v, %v", l, err)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("id", "a@b.test", "550 5.1.1 no\r\n", "note", int64(1), int64(5))
	f.Add("", "\xff\"\\", "550 \xe4\u2028\U000e0001\x00\x7f", "\ufffd\ud7ff", int64(-1<<63), int64(1<<62))
	f.Fuzz(func(t *testing.T, id, to, reply, note string, seconds, n int64) {
		d := refusal()
		d.Cause, d.Fix, d.Rule = note, []string{note, to}, id
		e := relay.Event{
			Time: time.Unix(seconds, n), Kind: relay.EventKind(note), ID: id, To: to, Note: note, Size: n,
			Delay:       time.Duration(n),
			NextAttempt: time.Unix(n, seconds), Tried: &relay.Attempt{Reply: diagnose.Reply{Raw: reply}},
			Diagnosis: d,
		}
		l := New(&e)
		b := l.AppendJSON(nil)
		if !utf8.Valid(b) || bytes.ContainsFunc(b,
			func(r rune) bool { return r < ' ' || r == 0x7f || hidden(r) }) {
			t.Fatalf("unsafe: %q", b)
		}
		var o map[string]any
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if note == "" {
			return
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if got.Reply != reply {
			t.Errorf("reply %q came back as %q", reply, got.Reply)
		}
		if want := strings.ToValidUTF8(note, "\ufffd"); utf8.ValidString(note) && got.Note != want {
			t.Errorf("note %q came back as %q", want, got.Note)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	for _, name := range []string{"relayed", "deferred"} {
		b.Run(name, func(b *testing.B) {
			e := events()[name]
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				l := New(&e)
				buf = l.AppendJSON(buf[:0])
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
