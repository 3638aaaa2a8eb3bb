package sqlite

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// owing is a message of which one recipient failed and is to be reported, and one waits.
func owing(t *testing.T, s *Spool) (id string, before *relay.Message) {
	t.Helper()
	now := time.Now()
	m := &relay.Message{ID: relay.NewID(now), Lane: "provider", Arrived: now,
		Envelope: relay.Envelope{From: "a@b.example"}, Recipients: []relay.Recipient{
			{Address: "x@c.example", State: relay.Queued, NextAttempt: now},
			{Address: "y@c.example", State: relay.Queued, NextAttempt: now}}}
	if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	l := leaseLane(t, s)[0]
	l.Message.Recipients[0].State = relay.Failed
	l.Message.Recipients[1].State, l.Message.Recipients[1].Attempts = relay.Deferred, 3
	n := relay.Notice{Message: m.ID, Kind: relay.NoticeFailed, Due: now}
	err := s.Settle(t.Context(), l.Token,
		relay.Settlement{Recipients: l.Message.Recipients, Owed: []relay.Entry{n.Entry()}})
	if err != nil {
		t.Fatal(err)
	}
	return m.ID, l.Message
}

func leaseLane(t *testing.T, s *Spool) []relay.Lease {
	t.Helper()
	ls, _, err := s.Lease(t.Context(),
		relay.LeaseQuery{Lane: "provider", Now: time.Now(), Max: 10, For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// claims are those of the reports that are due.
func claims(t *testing.T, s *Spool) []relay.Claim {
	t.Helper()
	cs, _, err := s.Claim(t.Context(),
		relay.ClaimQuery{Topic: relay.TopicReport, Now: time.Now(), Max: 10, For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// TestDetach: nothing is done for a message that is detached, across a restart too, until it is attached
// again; another spool adopts it once.
func TestDetach(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, Options{Dir: dir})
	id, before := owing(t, s)
	m, owed, ok, err := s.Detach(t.Context(), id, "B1")
	if err != nil || !ok || len(owed) != 1 || owed[0].Topic != relay.TopicReport {
		t.Fatalf("%v %v %+v", err, ok, owed)
	}
	if !slices.EqualFunc(m.Recipients, before.Recipients, func(a, b relay.Recipient) bool {
		return a.State == b.State && a.Attempts == b.Attempts && a.NextAttempt.Equal(b.NextAttempt)
	}) {
		t.Errorf("it is returned as %+v", m.Recipients)
	}
	if _, _, _, err := s.Detach(t.Context(), id, "B2"); err == nil ||
		!strings.Contains(err.Error(), "--undo B1") {
		t.Errorf("exported in two batches: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Dir: dir})
	defer func() { s.Close() }()
	if n, c := len(leaseLane(t, s)), len(claims(t, s)); n+c != 0 {
		t.Errorf("%d leases and %d claims of a message that is detached", n, c)
	}
	again, owedAgain, ok, err := s.Detach(t.Context(), id, "B1")
	if err != nil || !ok || len(owedAgain) != 1 || again.Recipients[1].State != relay.Deferred {
		t.Errorf("again: %v %v %+v", err, ok, again)
	}
	other := openTest(t, Options{})
	defer other.Close()
	for i, want := range []bool{true, false} {
		stored, err := other.Adopt(t.Context(), m, "B1", owed, strings.NewReader("content"))
		if err != nil || stored != want {
			t.Errorf("adopted %d: %v %v", i, stored, err)
		}
	}
	if n, c := len(leaseLane(t, other)), len(claims(t, other)); n != 1 || c != 1 {
		t.Errorf("the other spool has %d messages and %d notices", n, c)
	}
	if ok, err := s.Remove(t.Context(), id, "B2"); ok || err != nil {
		t.Errorf("removed for another batch: %v %v", ok, err)
	}
	if ok, err := s.Attach(t.Context(), id, "B1"); !ok || err != nil {
		t.Fatalf("attached: %v %v", ok, err)
	}
	if n, c := len(leaseLane(t, s)), claims(t, s); n != 1 || len(c) != 1 {
		t.Errorf("when it is attached: %d messages, %d notices", n, len(c))
	}
}

// TestDetachWaitsForClaims: a notice that is being answered is not exported.
func TestDetachWaitsForClaims(t *testing.T) {
	s := openTest(t, Options{})
	defer s.Close()
	id, _ := owing(t, s)
	c := claims(t, s)
	type result struct {
		owed []relay.Entry
		err  error
	}
	done := make(chan result, 1)
	go func() {
		_, owed, _, err := s.Detach(t.Context(), id, "B1")
		done <- result{owed, err}
	}()
	if err := s.Consume(t.Context(), relay.Answer{Entries: c[0].Entries}); err != nil {
		t.Fatal(err)
	}
	s.GiveBack(c[0].Token)
	if r := <-done; r.err != nil || len(r.owed) != 0 {
		t.Errorf("%v: %+v", r.err, r.owed)
	}
	if ok, err := s.Remove(t.Context(), id, "B1"); !ok || err != nil {
		t.Errorf("removed: %v %v", ok, err)
	}
	if ok, err := s.Remove(t.Context(), id, "B1"); ok || err != nil {
		t.Errorf("removed twice: %v %v", ok, err)
	}
}
