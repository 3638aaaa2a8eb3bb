package lane

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/cluster/memory"
)

// replica is one of several relays with a lane each for one upstream.
type replica struct {
	*bench
	member *memory.Member
	asked  atomic.Int64 // queries for its share
	stop   func()       // ends the lane, and then what keeps its share
}

// startReplicas starts n relays of one cluster. prepare sets up each before it runs.
func startReplicas(t *testing.T, e *memory.Engine, n int, prepare func(n int, b *bench)) (list []*replica) {
	t.Helper()
	for i := range n {
		r := &replica{bench: engineBench(t), member: e.Join(fmt.Sprint("host", i), "test")}
		prepare(i, r.bench)
		r.start(t)
		list = append(list, r)
	}
	return list
}

// start runs the lane of a replica.
func (r *replica) start(t *testing.T) {
	t.Helper()
	r.account = NewAccount(r.settings.Concurrency, r.settings.Rate)
	var keeper relay.ConnectionKeeper
	if r.real != nil {
		keeper = r.real.(relay.ConnectionKeeper)
	}
	r.cluster = r.member
	r.account.Share(Sharing{Shares: countedShares{r.member, &r.asked}, Board: r.member,
		Self: r.member.Self(), Name: "account",
		Log: slog.New(slog.DiscardHandler), Keeper: func() relay.ConnectionKeeper { return keeper }})
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() { r.account.Keep(ctx); close(kept) }()
	stop := r.run(t)
	r.stop = func() { stop(); cancel(); <-kept }
}

// kill takes the engine away from a replica for good and ends it. What it is exchanging it finishes.
func (r *replica) kill() {
	r.member.Cut(true)
	r.stop()
	if r.real != nil {
		r.real.(interface{ Close() error }).Close()
	}
	r.stop = func() {}
}

// TestReplicasAtMicrosoft: 20 relays, each with a lane for one account at the imitation of Microsoft 365 and
// as much mail as it may send, two of them killed. There is never a message above 30 in any 60 seconds, nor a
// fourth connection, at least 95 % of the rate are used, and each has its part.
func TestReplicasAtMicrosoft(t *testing.T) {
	const members, each, allowed, minutes = 20, 100, 30, 30
	synctest.Test(t, func(t *testing.T) {
		m := &metered{at: diagnose.StageEndOfData, slow: 300 * time.Millisecond,
			seed: rand.New(rand.NewPCG(1, 2)), open: map[int]bool{}}
		pools := microsofts(t, m, members)
		list := startReplicas(t, memory.New(30*time.Second), members, func(n int, b *bench) {
			b.real = pools[n]
			b.settings.Concurrency, b.settings.Rate = 3, Rate{Messages: allowed, Per: time.Minute}
			for i := range each {
				b.put(fmt.Sprintf("s%d@a.test", i%7), fmt.Sprintf("r%d@b.test", i))
			}
		})
		for minute := range minutes {
			pass(time.Minute)
			if minute == 9 || minute == 19 {
				list[minute].kill()
			}
		}
		for _, r := range list {
			defer r.stop()
		}
		sent := 0
		for n, r := range list {
			got := r.spool.states()[relay.Relayed]
			sent += got
			if n != 9 && n != 19 && got < 30 {
				t.Errorf("replica %d has sent %d", n, got)
			}
			if d := r.log.count(relay.EventDeferred); d > 0 {
				t.Errorf("replica %d has %d deferrals", n, d)
			}
		}
		t.Logf("%d messages in %d minutes, %.1f %% of what is allowed", sent, minutes,
			100*float64(sent)/(allowed*minutes))
		if sent < allowed*minutes*95/100 {
			t.Errorf("%d messages, want 95 %% of %d", sent, allowed*minutes)
		}
		if m.over > 0 || m.crowded > 0 {
			t.Errorf("%d above the rate, %d above 3 connections", m.over, m.crowded)
		}
	})
}

// TestReplicaCutOff: a relay that the engine does not answer finishes what it has begun, and begins nothing
// once its share is over; the others then have all connections. It goes on when the engine is back.
func TestReplicaCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadAfter = 30 * time.Second
		list := startReplicas(t, memory.New(deadAfter), 2, func(_ int, b *bench) {
			b.settings.Concurrency = 2
			b.upstream.delay = 3 * time.Second
			b.putMany(1000)
		})
		for _, r := range list {
			defer r.stop()
		}
		pass(20 * time.Second)
		for n, r := range list {
			if got := r.upstream.offers(); got < 3 {
				t.Fatalf("replica %d has offered %d messages", n, got)
			}
		}
		cut, other := list[0], list[1]
		cut.member.Cut(true)
		pass(deadAfter*2/3 + 3*time.Second) // what began just before ends
		ended := cut.upstream.offers()
		if got := cut.spool.states()[relay.Relayed]; got != ended {
			t.Errorf("%d of %d messages were settled", got, ended)
		}
		pass(deadAfter)
		if got := cut.upstream.offers(); got != ended {
			t.Errorf("%d messages were offered after the share was over", got-ended)
		}
		if n := other.upstream.most; n != 2 {
			t.Errorf("the other has had %d connections at once, want 2", n)
		}
		cut.member.Cut(false)
		pass(20 * time.Second)
		if got := cut.upstream.offers(); got <= ended {
			t.Error("nothing is sent though the engine is back")
		}
	})
}

// TestReplicaTakesLeave: a relay without mail asks for nothing, and what it had is free.
func TestReplicaTakesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memory.New(30 * time.Second)
		list := startReplicas(t, e, 1, func(_ int, b *bench) { b.settings.Concurrency = 2 })
		defer list[0].stop()
		list[0].put("a@example.com", "r@example.net")
		pass(10 * time.Second)
		if got := list[0].spool.states()[relay.Relayed]; got != 1 {
			t.Fatalf("%d messages are relayed", got)
		}
		before := list[0].asked.Load()
		pass(time.Hour)
		if n := list[0].asked.Load() - before; n > 4*60 { // the lane looks into its spool once a minute
			t.Errorf("%d queries in an hour without mail", n)
		}
		members, err := e.Join("x", "test").Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := members[0].Connections["account"]; n != 0 {
			t.Errorf("a relay without mail has %d connections", n)
		}
	})
}

// countedShares counts the queries.
type countedShares struct {
	relay.Shares
	n *atomic.Int64
}

func (c countedShares) Take(ctx context.Context, q relay.ShareQuery) (relay.Share, error) {
	c.n.Add(1)
	return c.Shares.Take(ctx, q)
}
