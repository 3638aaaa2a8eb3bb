package queueview

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// add counts n messages of an age with recipients in a state.
func add(s *Summary, now time.Time, n int, age time.Duration, state relay.State, reason string,
	to ...string) {
	m := admin.Summary{Arrived: now.Add(-age)}
	for _, a := range to {
		m.Recipients = append(m.Recipients,
			admin.RecipientSummary{Address: a, State: state, Reason: diagnose.Reason(reason)})
	}
	for range n {
		s.Add(m)
	}
}

func TestSummary(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	s := New(now)
	add(s, now, 3, time.Minute, relay.Deferred, "mailbox_full", "a@x.test", "b@X.test")
	add(s, now, 2, 2*time.Hour, relay.Deferred, "mailbox_full", "c@x.test")
	add(s, now, 1, 48*time.Hour, relay.Held, "", "d@y.test")
	add(s, now, 4, 10*time.Minute, relay.Queued, "", "e@z.test")
	add(s, now, 5, time.Hour, relay.Relayed, "", "gone@x.test")
	var out strings.Builder
	if err := s.Write(&out, false, func(s string) string { return s }); err != nil {
		t.Fatal(err)
	}
	const want = `  RECIPIENTS  <5m  <1h  <1d  OLDER  DOMAIN, STATE, REASON
           8    6    0    2      0  x.test, deferred, mailbox_full
           4    0    4    0      0  z.test, queued
           1    0    0    0      1  y.test, held
          13    6    4    2      1  all
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := s.Write(&out, true, nil); err != nil {
		t.Fatal(err)
	}
	var row Row
	first, _, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(first), &row); err != nil || row.Recipients != 8 ||
		row.Domain != "x.test" || !row.Oldest.Equal(now.Add(-2*time.Hour)) {
		t.Errorf("%v: %s", err, first)
	}
	out.Reset()
	if New(now).Write(&out, false, nil); out.String() != "the queue is empty\n" {
		t.Errorf("got %q", out.String())
	}
}
