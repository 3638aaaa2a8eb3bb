package lane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// fakeUpstream answers each transaction by a function, after a delay.
type fakeUpstream struct {
	mu      sync.Mutex
	answer  func(tx *relay.Transaction, rcpt int) diagnose.Reply // at end of data; a 2yz accepts
	stage   diagnose.Stage                                       // of a refusal
	fault   func() *relay.Attempt
	delay   time.Duration
	active  int
	most    int
	offered []offer
	probes  []time.Time
	probing int           // probes under way
	crowd   int           // the most of them at once
	look    time.Duration // by a probe
	err     error
	panics  bool
}

type offer struct {
	at   time.Time
	id   string
	rcpt string
}

func (f *fakeUpstream) faultNow() *relay.Attempt {
	if f.fault == nil {
		return nil
	}
	return f.fault()
}

func (f *fakeUpstream) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction,
	done func(*relay.Transaction, relay.Result)) {
	f.mu.Lock()
	f.active++
	f.most = max(f.most, f.active)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.active--; f.mu.Unlock() }()
	for tx := first; tx != nil; tx = next() {
		if f.panics {
			panic("as the test asks")
		}
		if a := f.faultNow(); a != nil {
			done(tx, relay.Result{Fault: a})
			return
		}
		if f.err != nil {
			done(tx, relay.Result{Err: f.err})
			continue
		}
		time.Sleep(f.delay) // whatever ctx says: a transaction under way has its grace
		done(tx, relay.Result{Attempts: f.attempts(tx)})
		if ctx.Err() != nil {
			return
		}
	}
}

func (f *fakeUpstream) attempts(tx *relay.Transaction) []relay.Attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	as := make([]relay.Attempt, len(tx.Recipients))
	for i, r := range tx.Recipients {
		f.offered = append(f.offered, offer{time.Now(), tx.Message.ID, tx.Message.Recipients[r].Address})
		reply := diagnose.ParseReply("250 2.0.0 ok\r\n")
		if f.answer != nil {
			reply = f.answer(tx, r)
		}
		as[i] = relay.Attempt{Time: time.Now(), Stage: diagnose.StageEndOfData, Reply: reply}
		if reply.Class() != 2 && f.stage != "" {
			as[i].Stage = f.stage
		}
	}
	return as
}

func (f *fakeUpstream) Capabilities() (relay.Capabilities, bool) { return relay.Capabilities{}, true }

func (f *fakeUpstream) Probe(context.Context) *relay.Attempt {
	f.mu.Lock()
	f.probes = append(f.probes, time.Now())
	f.probing++
	f.crowd = max(f.crowd, f.probing)
	f.mu.Unlock()
	time.Sleep(f.look)
	f.mu.Lock()
	f.probing--
	f.mu.Unlock()
	return f.faultNow()
}

func (f *fakeUpstream) Close() error { return nil }

// probed is how often the lane looked whether the upstream is back.
func (f *fakeUpstream) probed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.probes)
}

// offers is how many recipients were offered.
func (f *fakeUpstream) offers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.offered)
}

// times are when recipient rcpt was offered.
func (f *fakeUpstream) times(rcpt string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ts []time.Time
	for _, o := range f.offered {
		if o.rcpt == rcpt {
			ts = append(ts, o.at)
		}
	}
	return ts
}

type eventLog struct {
	mu     sync.Mutex
	events []relay.Event
}

func (e *eventLog) Record(ev relay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, ev)
}

// lane counts the lane events in a state.
func (e *eventLog) lane(state string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.events {
		if ev.Kind == relay.EventLane && ev.State == state {
			n++
		}
	}
	return n
}

// count counts the events of a kind.
func (e *eventLog) count(kind relay.EventKind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

// wantOnePause holds that the lane was paused once and resumed once.
func (e *eventLog) wantOnePause(t *testing.T) {
	t.Helper()
	if p, r := e.lane("paused"), e.lane("resumed"); p != 1 || r != 1 {
		t.Errorf("%d pause and %d resume events, want one each", p, r)
	}
}

// bench is a lane with all around it.
type bench struct {
	spool    *memSpool
	upstream *fakeUpstream
	real     relay.Upstream // used in place of upstream, if it is set
	log      *eventLog
	logged   io.Writer // takes the operational log
	settings Settings
	account  *Account
	cluster  relay.Coordination // nil for a relay alone
	lane     *Lane
	offset   time.Duration // of the wall clock
	mu       sync.Mutex
	meaning  func(diagnose.Symptom) diagnose.Diagnosis

	suppressions *memSuppressions                // nil for none
	reversePath  func(*relay.Transaction) string // nil for the envelope's
	seq          int
}

func newBench() *bench {
	p := testPolicy()
	p.Schedule = []time.Duration{time.Minute, 5 * time.Minute, time.Hour}
	p.Expiry = 10 * time.Hour
	return &bench{
		spool: newMemSpool(), upstream: &fakeUpstream{}, log: &eventLog{}, logged: io.Discard,
		settings: Settings{
			Policy: p, Concurrency: 4,
			Probe: Bounds{time.Second, 5 * time.Minute}, ProbeAuth: Bounds{time.Minute, 30 * time.Minute},
		},
		meaning: func(s diagnose.Symptom) diagnose.Diagnosis {
			return diagnose.Diagnosis{Category: diagnose.RecipientError, Scope: diagnose.ScopeRecipient}
		},
	}
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.offset)
}

func (b *bench) jump(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offset += d
}

// put stores a message of sender to recipients and wakes the lane.
func (b *bench) put(sender string, rcpts ...string) string {
	b.seq++
	m := &relay.Message{
		ID:       fmt.Sprintf("M%06d", b.seq),
		Lane:     "default",
		Arrived:  b.now(),
		Envelope: relay.Envelope{From: sender},
	}
	for _, r := range rcpts {
		m.Recipients = append(m.Recipients,
			relay.Recipient{Address: r, State: relay.Queued, NextAttempt: m.Arrived})
	}
	b.spool.Put(context.Background(), []*relay.Message{m}, strings.NewReader("Subject: x\r\n\r\nbody\r\n"))
	if b.lane != nil {
		b.lane.Kick()
	}
	return m.ID
}

// putMany stores n messages of 20 senders.
func (b *bench) putMany(n int) {
	for i := range n {
		b.put(fmt.Sprintf("s%d@example.com", i%20), fmt.Sprintf("r%d@example.net", i))
	}
}

// run starts the lane; the returned function ends it.
func (b *bench) run(t *testing.T) (stop func()) {
	t.Helper()
	var to relay.Upstream = b.upstream
	if b.real != nil {
		to = b.real
	}
	var recorders relay.Recorders
	var listed relay.Suppressions
	if b.suppressions != nil {
		recorders, listed = append(recorders, recorderFunc(b.suppressions.learn)), b.suppressions
	}
	b.lane = New(Options{
		Name: "default", Suppressions: listed,
		Spool:    b.spool,
		Upstream: to,
		Settings: func() Settings { return b.settings },
		Diagnose: func(s diagnose.Symptom) diagnose.Diagnosis { return b.meaning(s) },
		Record:   append(recorders, b.log),
		Log:      slog.New(slog.NewTextHandler(b.logged, nil)),
		Now:      b.now,
		Account:  func() *Account { return b.account },
		Cluster:  b.cluster,

		ReversePath: b.reversePath,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { b.lane.Run(ctx, time.Minute); close(ended) }()
	return func() { cancel(); <-ended }
}

type recorderFunc func(relay.Event)

func (f recorderFunc) Record(e relay.Event) { f(e) }

// pass lets time go by, and whoever acted in it come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func always(reply string) func(*relay.Transaction, int) diagnose.Reply {
	return func(*relay.Transaction, int) diagnose.Reply { return diagnose.ParseReply(reply) }
}

func connectFault() *relay.Attempt {
	return &relay.Attempt{
		Stage:  diagnose.StageConnect,
		NetErr: diagnose.NetErr{Kind: diagnose.NetRefused, Text: "refused"},
	}
}

func TestLaneRelaysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		stop := b.run(t)
		defer stop()
		for i := range 50 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", i))
		}
		synctest.Wait()
		if got := b.spool.states(); got[relay.Relayed] != 50 {
			t.Fatalf("states %v, want 50 relayed", got)
		}
		if b.upstream.most > 4 {
			t.Errorf("%d connections at once, want at most 4", b.upstream.most)
		}
	})
}

func TestLaneFollowsScheduleThenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.answer = always("450 4.2.1 later\r\n")
		stop := b.run(t)
		defer stop()
		id := b.put("a@example.com", "r@example.net")
		pass(11 * time.Hour)
		ts := b.upstream.times("r@example.net")
		if len(ts) < 4 {
			t.Fatalf("%d attempts, want several", len(ts))
		}
		for i, d := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, time.Hour} {
			got := ts[i+1].Sub(ts[i])
			if got < d*9/10 || got > d*11/10+time.Second {
				t.Errorf("delay %d is %v, want %v +-10 %%", i, got, d)
			}
		}
		if last := ts[len(ts)-1].Sub(ts[0]); last != 10*time.Hour {
			t.Errorf("last attempt after %v, want at expiry, 10h", last)
		}
		if r := b.spool.recipient(id, 0); r.State != relay.Expired {
			t.Errorf("state %s, want expired", r.State)
		}
		kinds := map[relay.NoticeKind]int{}
		for _, n := range b.spool.owed() {
			kinds[n.Kind]++
		}
		if kinds[relay.NoticeFailed] != 1 || kinds[relay.NoticeDelayed] != 1 {
			t.Errorf("notices %v, want one failed and one delayed", kinds)
		}
	})
}

func TestLaneKeepsRecipientsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.answer = func(tx *relay.Transaction, r int) diagnose.Reply {
			switch tx.Message.Recipients[r].Address {
			case "full@example.net":
				return diagnose.ParseReply("452 4.2.2 full\r\n")
			case "gone@example.net":
				return diagnose.ParseReply("550 5.1.1 gone\r\n")
			}
			return diagnose.ParseReply("250 ok\r\n")
		}
		stop := b.run(t)
		defer stop()
		b.put("a@example.com", "good@example.net", "full@example.net", "gone@example.net")
		pass(90 * time.Second)
		if n := len(b.upstream.times("good@example.net")); n != 1 {
			t.Errorf("good offered %d times, want 1", n)
		}
		if n := len(b.upstream.times("gone@example.net")); n != 1 {
			t.Errorf("gone offered %d times, want 1", n)
		}
		if n := len(b.upstream.times("full@example.net")); n != 2 {
			t.Errorf("full offered %d times, want 2", n)
		}
	})
}

// TestLaneFindsThrottledRate has an upstream that takes 5 messages a second while 2,000 wait.
func TestLaneFindsThrottledRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Concurrency = 20
		b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
			return diagnose.Diagnosis{
				Category: diagnose.RateLimitIssues,
				Scope:    diagnose.ScopeUpstream,
				Reason:   "throttled",
			}
		}
		const allowed = 5.0
		tokens, last := allowed, time.Now()
		taken := 0
		b.upstream.delay = 20 * time.Millisecond
		b.upstream.answer = func(*relay.Transaction, int) diagnose.Reply {
			now := time.Now()
			tokens = min(allowed, tokens+now.Sub(last).Seconds()*allowed)
			last = now
			if tokens < 1 {
				return diagnose.ParseReply("454 4.7.0 Throttling failure: Maximum sending rate exceeded.\r\n")
			}
			tokens--
			taken++
			return diagnose.ParseReply("250 ok\r\n")
		}
		start := time.Now()
		for i := range 2000 {
			b.put(fmt.Sprintf("s%d@example.com", i%50), fmt.Sprintf("r%d@example.net", i))
		}
		stop := b.run(t)
		defer stop()
		for b.spool.states()[relay.Relayed] < 2000 && time.Since(start) < time.Hour {
			pass(time.Second)
		}
		rate := 2000 / time.Since(start).Seconds()
		t.Logf("relayed %d in %v: %.2f a second of %.0f allowed, in %d offers", taken, time.Since(start),
			rate, allowed, b.upstream.offers())
		if rate < 0.9*allowed {
			t.Errorf("achieved %.2f a second, want at least 90 %% of %.0f", rate, allowed)
		}
		if n := b.upstream.offers(); n > 2000*13/10 {
			t.Errorf("%d offers for 2000 messages: too many were refused", n)
		}
		if got, owed := b.spool.states(), len(b.spool.owed()); got[relay.Relayed] != 2000 || owed != 0 {
			t.Errorf("states %v, %d notices: want 2000 relayed and none bounced", got, owed)
		}
		if p, n := b.log.lane("paused"), b.log.lane("slowed"); p != 0 || n != 1 {
			t.Errorf("%d pause and %d slowed events, want none and one", p, n)
		}
	})
}

// TestLaneOneMessageHoldsUpNobody has one message that is always answered 421, among others.
func TestLaneOneMessageHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.stage = diagnose.StageRcpt
		b.upstream.answer = func(tx *relay.Transaction, r int) diagnose.Reply {
			if tx.Message.Recipients[r].Address == "bad@example.net" {
				return diagnose.ParseReply("421 4.7.0 Try again later\r\n")
			}
			return diagnose.ParseReply("250 ok\r\n")
		}
		stop := b.run(t)
		defer stop()
		b.put("a@example.com", "bad@example.net")
		for i := range 600 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", i), fmt.Sprintf("s%d@example.net", i))
			pass(time.Second)
		}
		if got := b.spool.states(); got[relay.Relayed] < 2*595 {
			t.Errorf("states %v after ten minutes of a message a second, want hardly one waiting", got)
		}
		if b.log.lane("slowed") != 1 {
			t.Error("421 did not slow the lane")
		}
	})
}

func TestLaneFewerConnectionsWhenCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Concurrency = 20
		b.upstream.delay = 100 * time.Millisecond
		refused := 0
		b.upstream.fault = func() *relay.Attempt {
			b.upstream.mu.Lock()
			defer b.upstream.mu.Unlock()
			if b.upstream.active > 3 {
				refused++
				return &relay.Attempt{
					Stage: diagnose.StageGreeting,
					Reply: diagnose.ParseReply("421 4.7.0 Too many connections\r\n"),
				}
			}
			return nil
		}
		stop := b.run(t)
		defer stop()
		for i := range 300 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", i))
		}
		pass(30 * time.Second)
		if got := b.spool.states(); got[relay.Relayed] != 300 {
			t.Errorf("states %v, want 300 relayed over the connections that are allowed", got)
		}
		if refused > 60 {
			t.Errorf("%d connections refused, want few", refused)
		}
	})
}

func TestLaneClockJumps(t *testing.T) {
	const decade = 10 * 365 * 24 * time.Hour
	for _, jump := range []time.Duration{decade, -decade} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.settings.Policy.Expiry = 100 * 365 * 24 * time.Hour
				b.upstream.answer = always("450 4.2.1 later\r\n")
				stop := b.run(t)
				defer stop()
				b.put("a@example.com", "r@example.net")
				synctest.Wait()
				b.jump(jump)
				b.put("a@example.com", "new@example.net")
				pass(10 * time.Minute)
				if n := len(b.upstream.times("new@example.net")); n < 2 || n > 4 {
					t.Errorf("new mail was offered %d times in 10 minutes, want by schedule", n)
				}
				if n := len(b.upstream.times("r@example.net")); jump > 0 && (n < 2 || n > 5) {
					t.Errorf("old mail was offered %d times, want neither starved nor flooded", n)
				}
			})
		})
	}
}

func TestLaneDamagedContentFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.err = fmt.Errorf("reading: %w", relay.ErrCorrupt)
		stop := b.run(t)
		defer stop()
		id := b.put("a@example.com", "r@example.net")
		synctest.Wait()
		if r := b.spool.recipient(id, 0); r.State != relay.Failed {
			t.Errorf("state %s, want failed: its sender must get a report", r.State)
		}
		if len(b.spool.owed()) != 1 {
			t.Errorf("%d notices, want 1", len(b.spool.owed()))
		}
	})
}

func TestLaneOwnFaultDefers(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			b.upstream.err, b.upstream.panics = errors.New("too many open files"), panics
			stop := b.run(t)
			defer stop()
			id := b.put("a@example.com", "r@example.net")
			synctest.Wait()
			if r := b.spool.recipient(id, 0); r.State != relay.Deferred {
				t.Errorf("state %s, want deferred", r.State)
			}
		})
	}
}

func TestLaneStopFinishesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Concurrency = 1
		b.upstream.delay = 10 * time.Second
		stop := b.run(t)
		first := b.put("a@example.com", "r@example.net")
		pass(time.Second)
		second := b.put("a@example.com", "s@example.net")
		stop()
		if r := b.spool.recipient(first, 0); r.State != relay.Relayed {
			t.Errorf("first is %s, want relayed", r.State)
		}
		if r := b.spool.recipient(second, 0); r.State != relay.Queued {
			t.Errorf("second is %s, want still queued", r.State)
		}
	})
}

func TestLaneReportIsHeldNotBounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.answer = always("550 5.1.1 no\r\n")
		stop := b.run(t)
		defer stop()
		m := &relay.Message{
			ID:      "D1",
			Lane:    "default",
			Arrived: b.now(),
			Report:  true,
			Recipients: []relay.Recipient{
				{Address: "a@example.com", State: relay.Queued, NextAttempt: b.now()},
			},
		}
		b.spool.Put(context.Background(), []*relay.Message{m}, strings.NewReader("x"))
		b.lane.Kick()
		synctest.Wait()
		if r := b.spool.recipient("D1", 0); r.State != relay.Held || r.HeldWhy == "" {
			t.Errorf("report is %+v, want held with the reason", r)
		}
		if len(b.spool.owed()) != 0 {
			t.Error("a report led to a notice")
		}
	})
}
