package spooltest

import (
	"errors"
	"testing"
	"time"

	"mailwhy/relay"
)

func settleDefers(t *testing.T, s relay.Spool) {
	put(t, s, message("one@there.example", "two@there.example"), "x")
	l := leaseOne(t, s)
	soon := time.Now().Add(50 * time.Millisecond)
	l.Message.Recipients[0].State = relay.Relayed
	l.Message.Recipients[1].State = relay.Deferred
	l.Message.Recipients[1].NextAttempt = soon
	l.Message.Recipients[1].Attempts = 1
	settle(t, s, l)
	ls, next := leaseUntil(t, s, 1, time.Minute)
	if time.Now().Before(soon) && (len(ls) != 0 || !next.Equal(soon)) {
		t.Errorf("%d leases, next %v; want none before %v", len(ls), next, soon)
	}
	time.Sleep(time.Until(soon))
	if len(ls) == 0 {
		ls = lease(t, s, 1)
	}
	if len(ls) != 1 {
		t.Fatal("a deferred message did not come back")
	}
	if r := ls[0].Message.Recipients; r[0].State != relay.Relayed || r[1].Attempts != 1 {
		t.Errorf("recipients came back as %+v", r)
	}
}

func settleRemoves(t *testing.T, s relay.Spool) {
	m := message("one@there.example", "two@there.example")
	put(t, s, m, "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Relayed
	l.Message.Recipients[1].State = relay.Suppressed
	settle(t, s, l)
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("content of a message that nothing waits for: %v", err)
	}
	if ls, next := leaseUntil(t, s, 1, time.Minute); len(ls) != 0 || !next.IsZero() {
		t.Errorf("%d leases, next %v; want nothing", len(ls), next)
	}
}

func settleHolds(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Held, time.Time{})
	settle(t, s, l)
	if ls, next := leaseUntil(t, s, 1, time.Minute); len(ls) != 0 || !next.IsZero() {
		t.Errorf("%d leases, next %v; want a held message to be left alone", len(ls), next)
	}
	if got := read(t, s, m.ID); got != "x" {
		t.Errorf("content of a held message: %q", got)
	}
}

func settleStale(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Deferred, time.Now().Add(time.Hour))
	settle(t, s, l)
	for _, token := range []relay.Token{l.Token, "", "no-such-token"} {
		err := s.Settle(t.Context(), token, relay.Settlement{Recipients: l.Message.Recipients})
		if !errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("Settle by %q: %v, want ErrStaleLease", token, err)
		}
	}
}
