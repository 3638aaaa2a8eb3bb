package webhook

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"mailwhy/relay/feedback"
)

// TestReadUnproven reads every sample without a hook: as the body of a request and, where that is in an
// envelope, without it. The events are those that the hook reads.
func TestReadUnproven(t *testing.T) {
	for _, name := range Providers() {
		hook := newHook(t, name)
		for _, s := range samples(t, name) {
			want, err := hook.Read(s.raw)
			if err != nil {
				t.Fatal(err)
			}
			for form, payload := range map[string][]byte{"body": s.raw.Body, "bare": bare(t, name, s.raw)} {
				got, err := ReadUnproven(name, payload)
				if err != nil {
					t.Errorf("%s, %s, %s: %v", name, s.name, form, err)
				}
				if lines(got) != lines(want) {
					t.Errorf("%s, %s, %s: got\n%swant\n%s", name, s.name, form, lines(got), lines(want))
				}
			}
		}
	}
}

// lines are events without their ids, some of which stand in an envelope or a header, and their times, which
// an envelope may tell.
func lines(events []feedback.Event) string {
	var b strings.Builder
	for i := range events {
		e := events[i]
		e.ID, e.Time = "", testTime
		b.WriteString(show(&e) + "\n")
	}
	return b.String()
}

// bare is what of a request's body is in its envelope, or the body itself.
func bare(t *testing.T, provider string, raw *feedback.Raw) []byte {
	t.Helper()
	switch provider {
	case "ses", "scaleway":
		var m struct{ Message string }
		if err := json.Unmarshal(raw.Body, &m); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.Message, "{") {
			return []byte(m.Message)
		}
	case "mandrill":
		form, err := url.ParseQuery(string(raw.Body))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(form.Get("mandrill_events"))
	}
	return raw.Body
}

// TestGuess: every sample is known by its looks, in its envelope and without, and nothing else is.
func TestGuess(t *testing.T) {
	for _, name := range Providers() {
		for _, s := range samples(t, name) {
			body := s.raw.Body
			if name == "scaleway" {
				body = bytes.ReplaceAll(body, []byte(testTopic), []byte(scalewayTopic))
			}
			if got := Guess(body); got != name {
				t.Errorf("%s, %s: taken for %q", name, s.name, got)
			}
			if got := Guess(bare(t, name, s.raw)); got != name && s.want != "" {
				t.Errorf("%s, %s, bare: taken for %q", name, s.name, got)
			}
		}
	}
	for _, other := range []string{"", " ", "{}", "[]", "[1]", "{", "null", "a=b", "550 5.1.1 no",
		`{"event":"x"}`, `{"type":"email.sent"}`, `{"TopicArn":"x"}`, "\xff", "%zz"} {
		if got := Guess([]byte(other)); got != "" {
			t.Errorf("%q is taken for %s", other, got)
		}
	}
}

// TestReadUnprovenMistakes: what is no payload of the provider is an error, not a crash.
func TestReadUnprovenMistakes(t *testing.T) {
	_, err := ReadUnproven("nobody", nil)
	if err == nil || !strings.Contains(err.Error(), "known are azure") {
		t.Errorf("an unknown provider: %v", err)
	}
	for _, name := range Providers() {
		for _, payload := range []string{"", "{", "[", "not a payload", "\xff"} {
			if events, err := ReadUnproven(name, []byte(payload)); len(events) != 0 {
				t.Errorf("%s, %q: %v, %v", name, payload, events, err)
			}
		}
	}
}
