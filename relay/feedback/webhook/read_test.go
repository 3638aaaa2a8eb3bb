package webhook

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"mailwhy/relay/feedback"
)

// TestRead reads what each provider sends of each kind: testdata/events has what is sent and, under ".want",
// a line for each event.
func TestRead(t *testing.T) {
	for _, name := range Providers() {
		hook := newHook(t, name)
		for _, s := range samples(t, name) {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				events, err := hook.Read(s.raw)
				if err != nil {
					t.Fatal(err)
				}
				var got strings.Builder
				for i := range events {
					got.WriteString(show(&events[i]) + "\n")
				}
				if got.String() != s.want {
					t.Errorf("got:\n%swant:\n%s", got.String(), s.want)
				}
			})
		}
	}
}

// TestKindsAreCovered holds the samples to have every kind that a provider has: all five, but for the few
// that tell less.
func TestKindsAreCovered(t *testing.T) {
	lacks := map[string][]feedback.Kind{
		"azure":      {feedback.KindRetrying, feedback.KindComplained},
		"mailersend": {feedback.KindRetrying, feedback.KindDropped},
		"scaleway":   {feedback.KindComplained},
		"smtp2go":    {feedback.KindRetrying},
	}
	for _, name := range Providers() {
		all := ""
		for _, s := range samples(t, name) {
			all += "\n" + s.want
		}
		for _, kind := range kinds() {
			has := strings.Contains(all, "\n"+string(kind)+" ")
			if has == slices.Contains(lacks[name], kind) {
				t.Errorf("%s, %s: %v", name, kind, has)
			}
		}
	}
}

func kinds() []feedback.Kind {
	return []feedback.Kind{feedback.KindRetrying, feedback.KindDelivered, feedback.KindBounced,
		feedback.KindDropped, feedback.KindComplained}
}

// TestRepeatedEventsHaveOneID reads each sample twice: whoever acts on events knows a repeated one by its id,
// and no two events of a sample share one.
func TestRepeatedEventsHaveOneID(t *testing.T) {
	for _, name := range Providers() {
		hook := newHook(t, name)
		for _, s := range samples(t, name) {
			first, _ := hook.Read(s.raw)
			second, _ := hook.Read(s.raw)
			seen := map[string]bool{}
			for i := range first {
				if first[i].ID != second[i].ID || first[i].ID == "" || seen[first[i].ID] {
					t.Errorf("%s, %s: ids %q and %q", name, s.name, first[i].ID, second[i].ID)
				}
				seen[first[i].ID] = true
			}
		}
	}
}

// TestSeenSignatureOfMailgun puts another event under a signature that was seen: it has the same id, so that
// it is taken for a repetition and has no effect.
func TestSeenSignatureOfMailgun(t *testing.T) {
	hook, now := newHook(t, "mailgun"), testTime
	genuine := mailgunBody(`{"event":"delivered","recipient":"b@x.example"}`, "token-1", now)
	forged := mailgunBody(`{"event":"complained","recipient":"victim@x.example"}`, "token-1", now)
	var ids []string
	for _, body := range [][]byte{genuine, forged} {
		if err := hook.Prove(t.Context(), &Request{Body: body}, now); err != nil {
			t.Fatal(err)
		}
		events, err := hook.Read(&feedback.Raw{Body: body})
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		ids = append(ids, events[0].ID)
	}
	if ids[0] != "token-1" || ids[0] != ids[1] {
		t.Errorf("ids %q", ids)
	}
}

// TestBadPartOfBatch keeps what can be read beside what cannot.
func TestBadPartOfBatch(t *testing.T) {
	events, err := newHook(t, "sendgrid").Read(&feedback.Raw{
		Body: []byte(`[{"event":"bounce","email":"b@x.example"},7,{"event":"dropped","email":{"odd":1}}]`)})
	if len(events) != 2 || events[0].Recipient != "b@x.example" || events[1].Recipient != "" {
		t.Errorf("events %v", events)
	}
	if err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("error %v", err)
	}
}

// TestBadBatch: the error of a batch is short, however much of it cannot be read.
func TestBadBatch(t *testing.T) {
	body := "[7" + strings.Repeat(",7", 4999) + "]"
	_, err := newHook(t, "sendgrid").Read(&feedback.Raw{Body: []byte(body)})
	if err == nil || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") ||
		!strings.Contains(err.Error(), "event 1: ") || !strings.Contains(err.Error(), "and 4997 more") {
		t.Errorf("error %.600v", err)
	}
}

func TestCancelledSubscriptionIsReported(t *testing.T) {
	fields := confirmation(testTopic, "sns.eu-west-1.amazonaws.com")
	fields["Type"] = "UnsubscribeConfirmation"
	body := signSNS(t, fields)
	events, err := newHook(t, "ses").Read(&feedback.Raw{Body: body})
	if len(events) != 0 || err == nil || !strings.Contains(err.Error(), testTopic) {
		t.Errorf("%v, %v", events, err)
	}
}

// sample is something that a provider sends.
type sample struct {
	name string
	raw  *feedback.Raw
	want string
}

// samples are those of a provider, in the envelope that they come in.
func samples(t testing.TB, provider string) []sample {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", "events", provider+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{}
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			wants[name] = string(f.Data)
		}
	}
	var list []sample
	for _, f := range archive.Files {
		if want, ok := wants[f.Name]; ok {
			list = append(list, sample{f.Name, inEnvelope(provider, f.Name, f.Data), want})
		}
	}
	if len(list) < 2 || len(archive.Files) != 2*len(list) {
		t.Fatalf("%s: %d samples in %d files", provider, len(list), len(archive.Files))
	}
	return list
}

// inEnvelope is a journalled request with what is in a sample.
func inEnvelope(provider, name string, data []byte) *feedback.Raw {
	raw := &feedback.Raw{Provider: provider, Body: data}
	switch provider {
	case "ses", "scaleway":
		raw.Body, _ = json.Marshal(map[string]string{
			"Type": "Notification", "MessageId": "m1", "TopicArn": testTopic, "Message": string(data),
			"Timestamp": "2025-11-28T11:59:59.000Z",
		})
	case "mandrill":
		raw.Body = []byte(url.Values{"mandrill_events": {string(data)}}.Encode())
	case "resend":
		raw.Header = map[string]string{"Svix-Id": "msg_1"}
	case "smtp2go":
		raw.Header = map[string]string{"Content-Type": "application/json"}
		if strings.HasPrefix(name, "form") {
			raw.Header["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
			raw.Body = []byte(strings.TrimSpace(string(data)))
		}
	}
	return raw
}

// show writes an event in a line, what is empty left out.
func show(e *feedback.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Kind, e.Recipient)
	if strings.HasPrefix(e.ID, "sha256-") {
		b.WriteString(" id=(hash)")
	} else {
		fmt.Fprintf(&b, " id=%q", e.ID)
	}
	fmt.Fprintf(&b, " time=%s", e.Time.Format(time.RFC3339Nano))
	quoted := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%q", name, value)
		}
	}
	quoted("reply", e.Reply)
	if e.Status != "" {
		b.WriteString(" status=" + e.Status)
	}
	quoted("text", e.Text)
	quoted("type", e.Type)
	quoted("class", e.Class)
	quoted("host", e.Host)
	if e.Code != 0 {
		fmt.Fprintf(&b, " code=%d", e.Code)
	}
	if e.Shared {
		b.WriteString(" shared")
	}
	for _, k := range e.Keys {
		fmt.Fprintf(&b, " %s=%s", k.Kind, k.Value)
		if k.Host != "" {
			b.WriteString("@" + k.Host)
		}
	}
	return b.String()
}
