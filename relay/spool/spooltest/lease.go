package spooltest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
)

func leaseOnce(t *testing.T, s relay.Spool) {
	for range 20 {
		put(t, s, message(), "x")
	}
	var mu sync.Mutex
	seen := map[string]int{}
	tokens := map[relay.Token]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				ls := lease(t, s, 3)
				mu.Lock()
				for _, l := range ls {
					seen[l.Message.ID]++
					tokens[l.Token] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 20 || len(tokens) != 20 {
		t.Errorf("%d messages under %d tokens, want 20", len(seen), len(tokens))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was leased %d times", id, n)
		}
	}
}

func leaseMax(t *testing.T, s relay.Spool) {
	for range 5 {
		put(t, s, message(), "x")
	}
	ls, next := leaseUntil(t, s, 3, time.Minute)
	if len(ls) != 3 {
		t.Errorf("%d leases, want 3", len(ls))
	}
	if next.IsZero() || next.After(time.Now()) {
		t.Errorf("next is %v with two more due", next)
	}
	if ls := lease(t, s, 3); len(ls) != 2 {
		t.Errorf("then %d leases, want 2", len(ls))
	}
}

func leaseOwnLane(t *testing.T, s relay.Spool) {
	other := message()
	other.Lane = "elsewhere"
	put(t, s, other, "x")
	ls, next := leaseUntil(t, s, 3, time.Minute)
	if len(ls) != 0 || !next.IsZero() {
		t.Errorf("%d leases, next %v; want nothing of another lane", len(ls), next)
	}
}

func leaseCopy(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "x")
	m.Recipients[0].Address = "changed@after.put"
	l := leaseOne(t, s)
	if got := l.Message.Recipients[0].Address; got == "changed@after.put" {
		t.Error("the spool keeps the caller's message")
	}
}

func notDue(t *testing.T, s relay.Spool) {
	now := time.Now()
	due := now.Add(time.Hour).Truncate(time.Millisecond)
	m := message("later@there.example", "latest@there.example")
	m.Recipients[0].State, m.Recipients[0].NextAttempt = relay.Deferred, due
	m.Recipients[1].NextAttempt = due.Add(time.Hour)
	put(t, s, m, "x")
	ls, next := leaseUntil(t, s, 3, time.Minute)
	if len(ls) != 0 || !next.Equal(due) {
		t.Errorf("%d leases, next %v; want none, and %v", len(ls), next, due)
	}
	ls, _, err := s.Lease(t.Context(), relay.LeaseQuery{Lane: lane, Now: due, Max: 3, For: time.Minute})
	if err != nil || len(ls) != 1 {
		t.Errorf("%d leases at the due time, %v; want 1", len(ls), err)
	}
}

func leaseLapses(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	ls, _ := leaseUntil(t, s, 1, 50*time.Millisecond)
	old := ls[0]
	var again []relay.Lease
	for end := time.Now().Add(10 * time.Second); len(again) == 0 &&
		time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		again = lease(t, s, 1)
	}
	if len(again) != 1 {
		t.Fatal("a lapsed lease was not given again")
	}
	err := s.Settle(t.Context(), old.Token, relay.Settlement{Recipients: old.Message.Recipients})
	if !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Settle by the lapsed lease: %v", err)
	}
	if err := s.Extend(t.Context(), old.Token, time.Hour); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Extend of the lapsed lease: %v", err)
	}
	all(again[0].Message, relay.Relayed, time.Time{})
	settle(t, s, again[0])
}

func extend(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	ls, _ := leaseUntil(t, s, 1, 200*time.Millisecond)
	if err := s.Extend(t.Context(), ls[0].Token, time.Hour); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if again := lease(t, s, 1); len(again) != 0 {
		t.Error("an extended lease lapsed")
	}
	if err := s.Extend(t.Context(), "no-such-token", time.Hour); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Extend of a token that was never given: %v", err)
	}
}
