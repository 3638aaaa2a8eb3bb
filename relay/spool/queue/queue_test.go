package queue

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/runstate"
)

// open makes a queue that has so many bytes of memory.
func open(t *testing.T, memory int64) *Queue {
	t.Helper()
	run, _, err := runstate.Open(filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Close(false) })
	return New(Options{MaxDelay: time.Hour, Memory: memory, Run: run, Now: time.Now,
		Log: slog.New(slog.DiscardHandler)})
}

// arrive has a new message arrive.
func arrive(q *Queue, seq int64, sender string) {
	m := &relay.Message{ID: relay.NewID(time.Now()), Recipients: make([]relay.Recipient, 1)}
	r := &spool.Record{Seq: seq, ID: m.ID, Lane: "default", Sender: sender, Due: spool.Nanos(time.Now())}
	q.GiveSlot(r)
	q.ArriveNew(r, Leasable(m))
}

// lease leases up to max messages from memory.
func lease(q *Queue, max int) []relay.Lease {
	lq := relay.LeaseQuery{Lane: "default", Now: time.Now(), Max: max, For: time.Minute}
	ls, _, _ := q.Lane("default").LeaseInMemory(lq)
	return ls
}

// TestThrottle has the lane take what is in memory while a message waits: that one goes on as soon as there
// is less. Where the lane takes nothing it does not wait.
func TestThrottle(t *testing.T) { synctest.Test(t, testThrottle) }

func testThrottle(t *testing.T) {
	q := open(t, 8000)
	for i := range int64(5) { // more than half of it, also without the first
		arrive(q, i+1, "app@sender.example")
	}
	throttled := func() time.Duration {
		start := time.Now()
		q.Throttle(context.Background(), "default")
		return time.Since(start)
	}
	if d := throttled(); d > throttleMax/2 {
		t.Errorf("a message waited %v for a lane that takes nothing", d)
	}
	lease(q, 1)
	if d := throttled(); d < throttleMax/2 {
		t.Errorf("a message went on after %v though the lane did not catch up", d)
	}
	lease(q, 1)
	if d := throttled(); d > throttleMax/2 {
		t.Errorf("a message waited %v for a lane that has caught up", d)
	}
}

// TestFairInMemory: the first message of a sender goes before what another one has waiting.
func TestFairInMemory(t *testing.T) {
	q := open(t, 1<<20)
	for i := range int64(20) {
		arrive(q, i+1, "bulk@sender.example")
	}
	lease(q, 3)
	arrive(q, 21, "one@sender.example")
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range q.lane("default").inMemory {
		if f.r.Sender == "one@sender.example" && i > 1 {
			t.Errorf("the first message of a sender has %d of another one before it", i)
		}
	}
}

// TestEditWaitsForSettlement: a message whose settlement has begun is not taken for an edit, nor released.
func TestEditWaitsForSettlement(t *testing.T) {
	q := open(t, 1<<20)
	arrive(q, 1, "app@sender.example")
	l := lease(q, 1)[0]
	le, err := q.BeginSettle(l.Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Release(l.Token); err == nil {
		t.Error("a lease was released while it was being settled")
	}
	r := &spool.Record{Seq: 1, ID: l.Message.ID, Lane: "default"}
	if mine, other := q.TakeForEdit(r); mine != nil || other != le {
		t.Error("a message was taken for an edit while it was being settled")
	}
	q.EndSettle(le, nil)
	if err := q.Await(t.Context(), le); err != nil {
		t.Error(err)
	}
	if !q.HasGone(l.Message.ID) {
		t.Error("a message that has gone is not known")
	}
}
