package spooltest

import (
	"context"
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

// settleOthers: a settlement with more or fewer recipients than the message is refused, changes nothing, and
// leaves the lease in force.
func settleOthers(t *testing.T, s relay.Spool) {
	put(t, s, message("one@there.example", "two@there.example"), "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Relayed, time.Time{})
	right := l.Message.Recipients
	for _, wrong := range [][]relay.Recipient{nil, right[:1], append(right[:2:2], right[0])} {
		err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: wrong})
		if err == nil || errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("Settle of %d recipients of two: %v, want a refusal", len(wrong), err)
		}
	}
	if ls := lease(t, s, 1); len(ls) != 0 {
		t.Error("the lease has ended")
	}
	settle(t, s, l)
	if _, err := s.Content(t.Context(), l.Message.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("after the right settlement: %v", err)
	}
}

// settleCancelled: under a context that has ended Settle returns its cause, or has settled all the same. The
// message comes back as it was or as it was settled, and in no third state.
func settleCancelled(t *testing.T, s relay.Spool) {
	put(t, s, message("one@there.example", "two@there.example"), "x")
	ls, _ := leaseUntil(t, s, 1, 200*time.Millisecond)
	if len(ls) != 1 {
		t.Fatalf("%d leases", len(ls))
	}
	after := ls[0].Message.Recipients
	after[0].State = relay.Relayed
	after[1].State, after[1].NextAttempt, after[1].Attempts = relay.Deferred, time.Now(), 1
	ended := errors.New("the caller is in a hurry")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	err := s.Settle(ctx, ls[0].Token, relay.Settlement{Recipients: after})
	if err != nil && !errors.Is(err, ended) {
		t.Errorf("Settle: %v, want the cause or nil", err)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ls = lease(t, s, 1); len(ls) == 1 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the message did not come back")
		}
	}
	r := ls[0].Message.Recipients
	settled := r[0].State == relay.Relayed && r[1].State == relay.Deferred && r[1].Attempts == 1
	asBefore := r[0].State == relay.Queued && r[1].State == relay.Queued && r[1].Attempts == 0
	if !settled && (!asBefore || err == nil) {
		t.Errorf("Settle: %v, and the recipients are %+v", err, r)
	}
}
