package feedback

import (
	"testing"
	"time"

	"mailwhy/diagnose"
)

// TestSymptom: what an event says reaches the engine: the reply, or words in its place, the status where the
// reply has none, and the provider's own type.
func TestSymptom(t *testing.T) {
	for _, tt := range []struct {
		name     string
		event    Event
		code     int
		enhanced string
		text     string
		final    bool
	}{
		{"reply", Event{Kind: KindBounced, Reply: "550 5.1.1 no", Status: "5.0.0"}, 550, "5.1.1", "", true},
		{"status beside the reply", Event{Kind: KindRetrying, Reply: "452 full", Status: "4.2.2"},
			452, "4.2.2", "", false},
		{"status without a meaning", Event{Kind: KindBounced, Reply: "550 no", Status: "5.0.0"},
			550, "", "", true},
		{"status alone", Event{Kind: KindBounced, Status: "5.1.1"}, 0, "5.1.1", "", true},
		{"words", Event{Kind: KindDropped, Text: "Bad content"}, 0, "", "Bad content", true},
		{"a number of the provider's", Event{Kind: KindDropped, Code: 605, Text: "Not delivering"}, 0, "",
			"Not delivering", true},
	} {
		e := tt.event
		e.Provider, e.Type, e.Class = "ses", "Permanent", "General"
		e.Recipient, e.Host = "a@b.test", "mx.b.test"
		s := e.Symptom()
		if s.Stage != diagnose.StageRemote || s.Reply.Code != tt.code || s.Text != tt.text ||
			s.Reply.Enhanced.String() != tt.enhanced || s.Final != tt.final || s.Upstream != "mx.b.test" {
			t.Errorf("%s: got %+v", tt.name, s)
		}
		if f := s.Facts; f.Provider != "ses" || f.ProviderType != "Permanent" ||
			f.ProviderClass != "General" || f.Recipient != "a@b.test" {
			t.Errorf("%s: facts %+v", tt.name, f)
		}
	}
}

// TestAttempt: the host that reports is the upstream's, or the one that a bounce mail names.
func TestAttempt(t *testing.T) {
	at := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	e := Event{Source: SourceWebhook, Provider: "ses", Time: at, Host: "mx.b.test", Status: "5.1.1",
		Reply: "550 no\r\n", Text: "not used"}
	a := e.Attempt("default", "smtp.provider.test")
	if a.ReportedBy != "smtp.provider.test" || a.Host != "mx.b.test" || a.Reply.Raw != e.Reply ||
		a.Status != "5.1.1" || a.NetErr.Text != "" || a.Stage != diagnose.StageRemote || !a.Time.Equal(at) ||
		a.Upstream != "default" {
		t.Errorf("got %+v", a)
	}
	e = Event{Source: SourceDSN, Provider: "mx.relay.test", Text: "nobody here"}
	if a = e.Attempt("default", "smtp.provider.test"); a.ReportedBy != "mx.relay.test" ||
		a.NetErr != (diagnose.NetErr{Text: "nobody here"}) || !a.Reply.IsZero() {
		t.Errorf("got %+v", a)
	}
}
