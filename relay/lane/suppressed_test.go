package lane

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// memSuppressions suppress an address once it was refused, and ask of others one at a time until they
// answered, or always.
type memSuppressions struct {
	mu      sync.Mutex
	listed  map[string]*relay.Suppression
	known   map[string]bool
	doubted bool // addresses stay in question
}

func newMemSuppressions(listed ...string) *memSuppressions {
	s := &memSuppressions{listed: map[string]*relay.Suppression{}, known: map[string]bool{}}
	for _, a := range listed {
		s.listed[a] = &relay.Suppression{Address: a, Reply: "550 5.1.1 no such user\r\n"}
	}
	return s
}

func (s *memSuppressions) Check(_, recipient string, _ time.Time) relay.SuppressionCheck {
	s.mu.Lock()
	defer s.mu.Unlock()
	return relay.SuppressionCheck{Entry: s.listed[recipient], Single: s.doubted || !s.known[recipient]}
}

func (s *memSuppressions) learn(e relay.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case relay.EventFailed:
		s.listed[e.To] = &relay.Suppression{Address: e.To, Reply: e.Tried.Reply.Raw, Reason: "user_unknown"}
	case relay.EventRelayed, relay.EventDeferred:
		s.known[e.To] = true
	}
}

// suppressing makes a bench whose suppressions hear of its events.
func suppressing(s *memSuppressions) *bench {
	b := newBench()
	b.suppressions = s
	b.settings.Concurrency = 20
	return b
}

// refuse makes an upstream refuse recipients whose number is below n.
func refuse(n int) func(*relay.Transaction, int) diagnose.Reply {
	return func(tx *relay.Transaction, r int) diagnose.Reply {
		var number int
		fmt.Sscanf(tx.Message.Recipients[r].Address, "r%d@", &number)
		if number < n {
			return diagnose.ParseReply("550 5.1.1 no such user\r\n")
		}
		return diagnose.ParseReply("250 2.0.0 ok\r\n")
	}
}

// TestDeadAddressesAreAskedOnce: a thousand messages to a hundred addresses where nobody is cost a hundred
// refusals; mail to others is not slowed by them.
func TestDeadAddressesAreAskedOnce(t *testing.T) {
	for name, address := range map[string]func(i int) int{
		"in turns":                         func(i int) int { return i % 100 },
		"in a row":                         func(i int) int { return i / 10 },
		"all to one, then all to the next": func(i int) int { return i / 500 },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := suppressing(newMemSuppressions())
			b.upstream.answer, b.upstream.delay = refuse(100), 50*time.Millisecond
			dead := map[int]bool{}
			for i := range 1000 {
				dead[address(i)] = true
				b.put("app@shop.test", fmt.Sprintf("r%d@dead.test", address(i)))
				b.put("app@shop.test", fmt.Sprintf("r%d@live.test", 100+i))
			}
			stop := b.run(t)
			time.Sleep(time.Minute)
			stop()
			offers := b.upstream.offers() - b.log.count(relay.EventRelayed)
			if offers != len(dead) || b.log.count(relay.EventFailed) != len(dead) ||
				b.log.count(relay.EventSuppressed) != 1000-len(dead) ||
				b.log.count(relay.EventRelayed) != 1000 {
				t.Errorf("%s: %d refusals of %d addresses, %d suppressed, %d relayed", name, offers,
					len(dead), b.log.count(relay.EventSuppressed), b.log.count(relay.EventRelayed))
			}
			if n := len(b.spool.owed()); n != 1000 { // those that owe a notice stay
				t.Errorf("%s: %d bounces owed", name, n)
			}
		})
	}
}

// TestSuppressedAmongOthers: a suppressed recipient is settled with the others of its message, which are
// offered; it has a diagnosis and a notice.
func TestSuppressedAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := suppressing(newMemSuppressions("b@dead.test"))
		stop := b.run(t)
		id := b.put("app@shop.test", "a@live.test", "b@dead.test", "c@live.test")
		time.Sleep(time.Second)
		stop()
		if n := b.upstream.offers(); n != 2 {
			t.Errorf("%d recipients offered, want 2", n)
		}
		m := b.spool.messages[id]
		if m == nil {
			t.Fatal("the message is gone, and its notice with it")
		}
		r := m.Recipients[1]
		if r.State != relay.Suppressed || r.Diagnosis == nil ||
			r.Last.NetErr.Kind != diagnose.NetSuppressed ||
			r.Attempts != 0 || len(r.History) != 1 || r.History[0].Event != relay.EventSuppressed {
			t.Errorf("recipient %+v", r)
		}
		if len(b.spool.notices) != 1 || b.spool.notices[0].Recipient != 1 {
			t.Errorf("notices %+v", b.spool.notices)
		}
		for _, e := range b.log.events {
			if e.Kind == relay.EventSuppressed && (e.To != "b@dead.test" || e.Suppression == nil ||
				e.Tried == nil || e.Diagnosis == nil) {
				t.Errorf("event %+v", e)
			}
		}
	})
}

// TestWhatPasses: bounces and mail whose client asked for it are offered whatever the list says.
func TestWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := suppressing(newMemSuppressions("b@dead.test"))
		b.put("", "b@dead.test")
		b.spool.messages[b.put("app@shop.test", "b@dead.test")].Unsuppressed = true
		b.spool.messages[b.put("app@shop.test", "b@dead.test")].Report = true
		stop := b.run(t)
		time.Sleep(time.Second)
		stop()
		if n := b.log.count(relay.EventRelayed); n != 3 {
			t.Errorf("%d relayed, want 3", n)
		}
	})
}

// TestOneInquiryAtATime: to an address in question one message is offered at a time.
func TestOneInquiryAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemSuppressions()
		s.doubted = true
		b := suppressing(s)
		b.upstream.delay = time.Second
		for range 5 {
			b.put("app@shop.test", "a@slow.test", "b@slow.test")
		}
		stop := b.run(t)
		time.Sleep(time.Minute)
		stop()
		if b.upstream.most != 1 || b.log.count(relay.EventRelayed) != 10 {
			t.Errorf("%d at a time, %d relayed", b.upstream.most, b.log.count(relay.EventRelayed))
		}
	})
}

// TestNoAnswerIsNotWaitedFor: when an exchange hangs, other mail to its address goes on after a while.
func TestNoAnswerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := suppressing(newMemSuppressions())
		b.upstream.delay = 5 * time.Minute
		began := time.Now()
		for range 3 {
			b.put("app@shop.test", "a@slow.test")
		}
		stop := b.run(t)
		time.Sleep(10 * time.Minute)
		stop()
		times := b.upstream.times("a@slow.test")
		if len(times) != 3 {
			t.Fatalf("offered at %v", times)
		}
		if late := times[2].Sub(began) - b.upstream.delay; late < parkedFor || late > parkedFor+time.Second {
			t.Errorf("the last one was offered %v after the first", late)
		}
	})
}

// TestPauseReturnsWhatWaits: a pause gives back what waits for an answer, and all of it is tried after it.
func TestPauseReturnsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := suppressing(newMemSuppressions())
		var up atomic.Bool
		b.upstream.delay = time.Second
		b.upstream.fault = func() *relay.Attempt {
			if up.Load() {
				return nil
			}
			time.Sleep(time.Second)
			return &relay.Attempt{Time: b.now(), Stage: diagnose.StageConnect,
				NetErr: diagnose.NetErr{Kind: diagnose.NetRefused, Text: "refused"}}
		}
		for range 400 {
			b.put("app@shop.test", "a@live.test")
		}
		stop := b.run(t)
		time.Sleep(30 * time.Second)
		b.spool.mu.Lock()
		leased := len(b.spool.leased)
		b.spool.mu.Unlock()
		if leased != 0 {
			t.Errorf("%d messages are leased while the lane is paused", leased)
		}
		up.Store(true)
		time.Sleep(10 * time.Minute)
		stop()
		if n := b.log.count(relay.EventRelayed); n != 400 {
			t.Errorf("%d relayed, want 400", n)
		}
	})
}
