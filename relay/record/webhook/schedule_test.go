package webhook

import (
	"net/http"
	"testing"
	"time"

	"mailwhy/relay/record/webhook/eventlog"
)

// TestWaits: an event is tried ten times, over three days, each wait up to a quarter longer.
func TestWaits(t *testing.T) {
	var sum time.Duration
	for attempts := 1; ; attempts++ {
		d, again := wait(attempts, 0)
		if !again {
			if attempts != 10 || sum < 75*time.Hour || sum > 76*time.Hour {
				t.Errorf("given up after %d attempts and %v", attempts, sum)
			}
			break
		}
		if most, _ := wait(attempts, 1); most != d+d/4 {
			t.Errorf("attempt %d waits %v to %v", attempts, d, most)
		}
		sum += d
	}
}

// TestStanding: what answers make of a webhook.
func TestStanding(t *testing.T) {
	now := time.Unix(1e9, 0)
	refused := &answer{status: 422, result: resultRefused}
	broken := &answer{status: 503, result: resultThrottled}
	var s standing
	if s.failed(refused, now, time.Hour, 0) || s.failing() {
		t.Error("one refusal makes the webhook fail")
	}
	if s.succeeded() {
		t.Error("a success after one refusal is a recovery")
	}
	s.failed(broken, now, time.Hour, 0)
	if !s.failing() || s.Until.Sub(now) != time.Second {
		t.Errorf("after a 503: %+v", s)
	}
	for range 20 {
		s.failed(broken, now, time.Hour, 0)
	}
	if s.Until.Sub(now) != mostPause || !s.Disabled.IsZero() {
		t.Errorf("after many: %+v", s)
	}
	if !s.failed(broken, now.Add(time.Hour), time.Hour, 0) {
		t.Error("it is not disabled after its time")
	}
	if s = (standing{Failures: 3}); !s.succeeded() || s.failing() {
		t.Error("a success is no recovery")
	}
	if !s.failed(&answer{status: http.StatusGone, result: resultRefused}, now, time.Hour, 0) {
		t.Error("410 does not disable")
	}
}

// TestRetryAfterField: seconds and dates, within bounds.
func TestRetryAfterField(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "99999999999": mostRetryAfter, "soon": 0,
		"Sun, 29 Nov 2026 12:01:00 GMT": time.Minute, "Sun, 29 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After: %s is %v, want %v", value, got, want)
		}
	}
}

// TestGroupsStayTogether: what was sent in one request is sent again in one, also after a restart.
func TestGroupsStayTogether(t *testing.T) {
	now := time.Unix(1e9, 0)
	l, err := eventlog.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var events []eventlog.Event
	for _, id := range []string{"a", "b", "c", "d"} {
		events = append(events, eventlog.Event{ID: id, Order: id})
	}
	if err := l.Append(events, false); err != nil {
		t.Fatal(err)
	}
	stored, _, _, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	w := &window{}
	for _, s := range stored {
		w.items = append(w.items, &item{Stored: s})
	}
	ids := func(g *group) (text string) {
		for _, it := range g.items {
			text += it.ID
		}
		return text
	}
	first := w.next(now, 3)
	first.launch()
	w.failed(first, now, false, 0)
	again := &window{}
	if missing, err := again.restore(l, w.saved()); err != nil || missing != 0 {
		t.Fatal(missing, err)
	}
	for _, w := range []*window{w, again} {
		if g := w.next(now, 3); ids(g) != "d" {
			t.Errorf("what is due is %s", ids(g))
		}
		if g := w.next(now.Add(time.Minute), 2); ids(g) != "abc" {
			t.Errorf("sent again is %s", ids(g))
		}
	}
}
