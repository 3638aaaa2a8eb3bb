package lane

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/cluster/memory"
)

// outageBench are several relays of one cluster with one upstream, which is down as long as the test wants.
type outageBench struct {
	engine   *memory.Engine
	list     []*replica
	upstream *fakeUpstream
	down     atomic.Bool
}

func newOutageBench(t *testing.T, members int, fault func() *relay.Attempt) *outageBench {
	t.Helper()
	b := &outageBench{engine: memory.New(30 * time.Second), upstream: &fakeUpstream{}}
	b.upstream.look = 200 * time.Millisecond
	b.upstream.fault = func() *relay.Attempt {
		if b.down.Load() {
			return fault()
		}
		return nil
	}
	b.list = startReplicas(t, b.engine, members, func(_ int, r *bench) { r.upstream = b.upstream })
	t.Cleanup(func() {
		if b.list != nil {
			t.Error("the relays were not stopped")
		}
	})
	return b
}

func (b *outageBench) stop() {
	for _, r := range b.list {
		r.stop()
	}
	b.list = nil
}

// put gives each relay n messages.
func (b *outageBench) put(n int) {
	for _, r := range b.list {
		r.putMany(n)
	}
}

// events counts the lane events of all relays in a state.
func (b *outageBench) events(state string) (n int) {
	for _, r := range b.list {
		n += r.log.lane(state)
	}
	return n
}

// wantPaused holds that all relays are paused, or none.
func (b *outageBench) wantPaused(t *testing.T, want bool) {
	t.Helper()
	for n, r := range b.list {
		st := r.lane.State()
		if st.Paused != want {
			t.Errorf("replica %d: paused is %v, want %v", n, st.Paused, want)
		}
		if want && (st.Diagnosis == nil || st.Since.IsZero() || st.Reply == "") {
			t.Errorf("replica %d does not know why it is paused: %+v", n, st)
		}
	}
}

// wantOnePause holds that of all relays one has told of the pause and one of its end.
func (b *outageBench) wantOnePause(t *testing.T) {
	t.Helper()
	if p, r := b.events("paused"), b.events("resumed"); p != 1 || r != 1 {
		t.Errorf("%d pause and %d resume events, want one each", p, r)
	}
}

// relayed is how many messages the relays have relayed.
func (b *outageBench) relayed() (n int) {
	for _, r := range b.list {
		n += r.spool.states()[relay.Relayed]
	}
	return n
}

// TestReplicasPauseTogether: an upstream is out of reach for ten relays, one of which is killed. All pause
// and know why, one probe at a time is made for all of them, and one event is told of the beginning and the
// end.
func TestReplicasPauseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members = 10
		b := newOutageBench(t, members, connectFault)
		defer b.stop()
		b.down.Store(true)
		b.put(20)
		pass(time.Minute)
		b.wantPaused(t, true)
		prober := 0
		for n, r := range b.list {
			if r.log.lane("paused") > 0 {
				prober = n
			}
		}
		pass(29 * time.Minute)
		b.list[prober].kill()
		pass(5 * time.Hour)
		if n := b.upstream.probed(); n < 60 || n > 95 {
			t.Errorf("%d probes in five hours, want those of one relay", n)
		}
		if n := b.upstream.crowd; n != 1 {
			t.Errorf("%d probes at once", n)
		}
		if b.relayed() > 0 || b.upstream.offers() > 0 {
			t.Error("something was offered")
		}
		b.down.Store(false)
		pass(6 * time.Minute)
		b.list = append(b.list[:prober:prober], b.list[prober+1:]...)
		b.wantPaused(t, false)
		if got := b.relayed(); got != 20*(members-1) {
			t.Errorf("%d messages are relayed", got)
		}
		pauses, resumes := b.events("paused"), b.events("resumed") // the pause was told by the one killed
		if pauses != 0 || resumes != 1 {
			t.Errorf("%d further pause events and %d resume events, want none and one", pauses, resumes)
		}
	})
}

// TestReplicasLetOneMessageThrough: where only a message shows that the account may send again, one relay at
// a time tries one, and whoever has mail does.
func TestReplicasLetOneMessageThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried atomic.Int64
		b := newOutageBench(t, 5, func() *relay.Attempt {
			tried.Add(1)
			return &relay.Attempt{Stage: diagnose.StageMail, Verdict: 5,
				NetErr: diagnose.NetErr{Kind: diagnose.NetAPI, Reason: "account_suspended", Text: "no"}}
		})
		defer b.stop()
		b.down.Store(true)
		last := b.list[4]
		last.putMany(20) // the others have none
		pass(12 * time.Hour)
		b.wantPaused(t, true)
		// At intervals of 1 to 30 minutes, and up to two more where the duty was with those who have no mail.
		if n := tried.Load(); n < 8 || n > 40+int64(last.settings.Concurrency) {
			t.Errorf("%d messages were tried in twelve hours", n)
		}
		b.down.Store(false)
		pass(2 * time.Hour)
		b.wantPaused(t, false)
		if got := b.relayed(); got != 20 {
			t.Errorf("%d messages are relayed, want all 20", got)
		}
		b.wantOnePause(t)
	})
}

// TestReplicaJoinsAPause: a relay that starts while the others are paused is so too, and offers nothing.
func TestReplicaJoinsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutageBench(t, 2, connectFault)
		defer b.stop()
		b.down.Store(true)
		b.put(5)
		pass(10 * time.Minute)
		probes := b.upstream.probed()
		late := startReplicas(t, b.engine, 1, func(_ int, r *bench) { r.upstream = b.upstream })
		b.list = append(b.list, late...)
		late[0].putMany(5)
		pass(10 * time.Second)
		b.wantPaused(t, true)
		if n := b.upstream.probed() - probes; n > 1 {
			t.Errorf("%d probes", n)
		}
		b.down.Store(false)
		pass(6 * time.Minute)
		if got := b.relayed(); got != 15 {
			t.Errorf("%d messages are relayed, want all 15", got)
		}
		b.wantOnePause(t)
	})
}

// TestPauseWithoutTheEngine: while the cluster does not answer a relay still tells of a pause, and the end of
// it is known to all once it answers again.
func TestPauseWithoutTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutageBench(t, 2, connectFault)
		defer b.stop()
		b.put(1)
		pass(time.Second)
		cut := b.list[0]
		cut.member.Cut(true)
		b.down.Store(true)
		cut.putMany(1)
		pass(10 * time.Second) // its share is still in force
		if n := cut.log.lane("paused"); n != 1 {
			t.Errorf("%d pause events without the engine, want one", n)
		}
		pass(10 * time.Minute)
		if n := b.upstream.probed(); n > 0 {
			t.Errorf("%d probes without the engine", n)
		}
		cut.member.Cut(false)
		pass(time.Minute)
		b.wantPaused(t, true)
		b.down.Store(false)
		pass(6 * time.Minute)
		b.wantPaused(t, false)
		b.wantOnePause(t)
		if got := b.relayed(); got != 3 {
			t.Errorf("%d messages are relayed, want all 3", got)
		}
	})
}

// TestReplicasSlowDownTogether: a limit that one relay meets slows the others too, and is told once.
func TestReplicasSlowDownTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutageBench(t, 3, connectFault)
		defer b.stop()
		engine := engineBench(t)
		var full atomic.Bool
		b.upstream.delay = 50 * time.Millisecond
		b.upstream.stage = diagnose.StageMail
		b.upstream.answer = func(tx *relay.Transaction, _ int) diagnose.Reply {
			if full.CompareAndSwap(true, false) {
				return diagnose.ParseReply("421 4.7.0 Try again later, too many messages from you\r\n")
			}
			return diagnose.ParseReply("250 2.0.0 ok\r\n")
		}
		for _, r := range b.list {
			r.mu.Lock()
			r.meaning = engine.meaning
			r.mu.Unlock()
		}
		b.put(3000)
		pass(10 * time.Second)
		full.Store(true)
		pass(500 * time.Millisecond)
		for n, r := range b.list {
			if !r.lane.State().Slowed {
				t.Errorf("replica %d is not slowed", n)
			}
		}
		if n := b.events("slowed"); n != 1 {
			t.Errorf("%d events, want one", n)
		}
	})
}

// TestReplicasCountRefusedSenders: three senders for which the account is refused pause the lanes, whichever
// relays they came to.
func TestReplicasCountRefusedSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newOutageBench(t, 3, connectFault)
		defer b.stop()
		b.upstream.stage = diagnose.StageMail
		b.upstream.answer = always("550 5.7.60 Client does not have permissions to send as this sender\r\n")
		for n, r := range b.list {
			r.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
				return diagnose.Diagnosis{Scope: diagnose.ScopeUpstream, Reason: "account_suspended"}
			}
			r.put(fmt.Sprintf("s%d@example.com", n), "r@example.net")
			pass(5 * time.Second)
		}
		b.wantPaused(t, true)
		if n := b.events("paused"); n != 1 {
			t.Errorf("%d pause events, want one", n)
		}
	})
}
