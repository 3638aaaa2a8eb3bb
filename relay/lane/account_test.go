package lane

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// twoOf are two lanes of one account.
func twoOf(t *testing.T, connections int, most Rate) (a, b *bench) {
	t.Helper()
	account := NewAccount(connections, most)
	a, b = engineBench(t), engineBench(t)
	for _, x := range []*bench{a, b} {
		x.account = account
		x.settings.Concurrency, x.settings.Rate = connections, most
	}
	return a, b
}

// TestAccountOfMicrosoft: two lanes of one account with mail waiting in both send what one may, without one
// message or connection too many, and each its part.
func TestAccountOfMicrosoft(t *testing.T) {
	const messages, allowed = 150, 30 // a lane; a minute
	synctest.Test(t, func(t *testing.T) {
		m := &metered{at: diagnose.StageEndOfData, slow: 300 * time.Millisecond,
			seed: rand.New(rand.NewPCG(1, 2)), open: map[int]bool{}}
		a, b := twoOf(t, 3, Rate{Messages: allowed, Per: time.Minute})
		a.real = microsoft(t, m)
		b.real = a.real
		for n := range messages {
			a.put(fmt.Sprintf("s%d@a.test", n%7), fmt.Sprintf("r%d@b.test", n))
			b.put(fmt.Sprintf("s%d@c.test", n%7), fmt.Sprintf("r%d@d.test", n))
		}
		began := time.Now()
		defer a.run(t)()
		defer b.run(t)()
		taken := func() (int, int) { return a.spool.states()[relay.Relayed], b.spool.states()[relay.Relayed] }
		pass(5 * time.Minute)
		if ofA, ofB := taken(); ofA < messages/4 || ofB < messages/4 {
			t.Errorf("after half of the time one lane has sent %d and the other %d", ofA, ofB)
		}
		for ofA, ofB := taken(); ofA+ofB < 2*messages && time.Since(began) < time.Hour; ofA, ofB = taken() {
			pass(time.Second)
		}
		rate := 2 * messages / time.Since(began).Minutes()
		t.Logf("%.2f messages a minute, %.1f %% of what is allowed", rate, 100*rate/allowed)
		if rate < 0.95*allowed {
			t.Errorf("%.2f messages a minute, want 95 %% of %d", rate, allowed)
		}
		deferred := a.log.count(relay.EventDeferred) + b.log.count(relay.EventDeferred)
		if m.over > 0 || m.crowded > 0 || deferred > 0 {
			t.Errorf("%d above the rate, %d above 3 connections", m.over, m.crowded)
		}
	})
}

// TestConnectionsOfAccount: two lanes are never above the connections of their account, use all of them, and
// one with much mail does not keep the other waiting.
func TestConnectionsOfAccount(t *testing.T) {
	for connections := 1; connections <= 4; connections++ {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const many, few = 400, 40
				a, b := twoOf(t, connections, Rate{})
				b.upstream = a.upstream
				a.upstream.delay = time.Second
				a.putMany(many)
				defer a.run(t)()
				pass(10 * time.Second)
				b.putMany(few)
				defer b.run(t)()
				// b has half of the connections, rounded down; of one, half of the time.
				soon := time.Duration(3*few/max(2*(connections/2), 1)) * time.Second
				pass(soon)
				if n := b.spool.states()[relay.Relayed]; n != few {
					t.Errorf("the lane with little mail has sent %d of %d", n, few)
				}
				pass(time.Duration((many+few)/connections)*time.Second - soon)
				if n := a.spool.states()[relay.Relayed]; n != many {
					t.Errorf("the lane with much mail has sent %d of %d", n, many)
				}
				if a.upstream.most > connections {
					t.Errorf("%d connections at once", a.upstream.most)
				}
			})
		})
	}
}

// TestAccountIsToldOfLimits: a limit that one lane meets slows the other too.
func TestAccountIsToldOfLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoOf(t, 4, Rate{})
		b.upstream.delay = 100 * time.Millisecond
		a.refuse(diagnose.StageMail, "421 4.7.0 Too many messages, slow down\r\n",
			func(string, string) bool { return true })
		defer a.run(t)()
		defer b.run(t)()
		b.putMany(100)
		pass(time.Second)
		if b.lane.State().Slowed {
			t.Fatal("slowed before any limit was met")
		}
		a.put("s@example.com", "r@example.net")
		pass(100 * time.Millisecond)
		for _, x := range []*bench{a, b} {
			if st := x.lane.State(); !st.Slowed || st.Diagnosis == nil {
				t.Errorf("not slowed: %+v", st)
			}
		}
	})
}

// TestAccountOfAnother: a lane that changes its account takes nothing with it, and gives back what it held.
func TestAccountOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoOf(t, 2, Rate{Messages: 10, Per: time.Minute})
		old, other := a.account, NewAccount(2, Rate{Messages: 10, Per: time.Minute})
		b.upstream = a.upstream
		a.upstream.delay = time.Second
		a.putMany(20)
		defer a.run(t)()
		defer b.run(t)()
		pass(1500 * time.Millisecond)
		a.account = other
		a.lane.Kick()
		pass(10 * time.Minute)
		old.mu.Lock()
		defer old.mu.Unlock()
		if old.open != 0 || len(old.queue) != 0 || old.window.Open() != 0 || len(old.held) != 0 ||
			old.members[a.lane] || !old.members[b.lane] {
			t.Errorf("%d connections, %d waiting, %d messages under way are left with the account; %v, %v",
				old.open, len(old.queue), old.window.Open(), old.held, old.members)
		}
		if n := a.spool.states()[relay.Relayed]; n != 20 {
			t.Errorf("%d messages were relayed", n)
		}
	})
}

// TestAccountConfigure: a changed number of connections forgets nothing of the rate; a changed rate holds at
// once.
func TestAccountConfigure(t *testing.T) {
	now := time.Now()
	a := NewAccount(2, Rate{Messages: 60, Per: time.Minute})
	take := func() (n int) {
		for range 3600 {
			granted, _ := a.grant(nil, now, 5)
			for range granted {
				a.ended(now, true)
			}
			n += granted
			now = now.Add(10 * time.Millisecond)
		}
		return n
	}
	if n := take(); n < 30 || n > 40 { // 36 seconds
		t.Errorf("%d in 36 seconds", n)
	}
	a.Configure(3, Rate{Messages: 60, Per: time.Minute})
	if n := take(); n > 37 {
		t.Errorf("%d in the next 36 seconds: the window was forgotten", n)
	}
	a.Configure(3, Rate{Messages: 600, Per: time.Minute})
	if n := take(); n < 300 {
		t.Errorf("%d in 36 seconds at 600 a minute", n)
	}
	a.Configure(3, Rate{})
	if n, wait := a.grant(nil, now, 1000); n != 1000 || wait != 0 {
		t.Errorf("without a rate %d are granted, then %s", n, wait)
	}
}
