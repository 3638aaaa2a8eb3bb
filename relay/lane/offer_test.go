package lane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// handedIn is an Offer that notes how it ended.
type handedIn struct {
	m  *relay.Message
	in bool // the lane took it
	no error

	mu       sync.Mutex
	settled  []relay.Settlement
	released int
	extended int
}

func (h *handedIn) Message() *relay.Message { return h.m }

func (h *handedIn) Content() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("Subject: x\r\n\r\nbody\r\n")), nil
}

func (h *handedIn) Extend(context.Context, time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.extended++
	return nil
}

func (h *handedIn) Settle(_ context.Context, s relay.Settlement) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = append(h.settled, s)
	return h.no
}

func (h *handedIn) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released++
	return nil
}

// ended is how it ended: the state of its first recipient, "released", or "under way".
func (h *handedIn) ended() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.settled)+h.released > 1:
		return fmt.Sprintf("settled %d times and released %d times", len(h.settled), h.released)
	case h.released == 1:
		return "released"
	case len(h.settled) == 1:
		return string(h.settled[0].Recipients[0].State)
	}
	return "under way"
}

// offer hands a message of sender in.
func (b *bench) offer(sender string, rcpts ...string) *handedIn {
	b.seq++
	h := &handedIn{m: &relay.Message{ID: fmt.Sprintf("T%06d", b.seq), Lane: "default", Arrived: b.now(),
		Envelope: relay.Envelope{From: sender}}}
	for _, r := range rcpts {
		h.m.Recipients = append(h.m.Recipients,
			relay.Recipient{Address: r, State: relay.Queued, NextAttempt: h.m.Arrived})
	}
	h.in = b.lane.Offer(context.Background(), h)
	return h
}

// wantEnd holds that an offer ended so.
func (h *handedIn) wantEnd(t *testing.T, want string) {
	t.Helper()
	if got := h.ended(); got != want {
		t.Errorf("the offer %s ended as %q, want %q", h.m.ID, got, want)
	}
}

// TestOfferIsConcluded: what an upstream says of a message that is offered is settled with its session, as
// with the spool, and recorded as any attempt.
func TestOfferIsConcluded(t *testing.T) {
	for _, tc := range []struct {
		reply string
		state relay.State
		event relay.EventKind
	}{
		{"250 2.0.0 ok\r\n", relay.Relayed, relay.EventRelayed},
		{"550 5.1.1 no such user\r\n", relay.Failed, relay.EventFailed},
		{"450 4.2.1 later\r\n", relay.Deferred, relay.EventDeferred},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			b.upstream.answer = always(tc.reply)
			stop := b.run(t)
			defer stop()
			h := b.offer("a@example.com", "r@example.net")
			synctest.Wait()
			h.wantEnd(t, string(tc.state))
			if r := h.settled[0].Recipients[0]; r.Last == nil || len(r.History) != 1 {
				t.Errorf("%s: the recipient is settled as %+v", tc.reply, r)
			}
			if n := b.log.count(tc.event); n != 1 {
				t.Errorf("%s: %d events %s", tc.reply, n, tc.event)
			}
			if failed := tc.state == relay.Failed; failed != (len(h.settled[0].Owed) == 1) {
				t.Errorf("%s: %d notices are owed", tc.reply, len(h.settled[0].Owed))
			}
		})
	}
}

// TestOfferIsGivenBack: a message that cannot be offered at once is given back, and has no attempt.
func TestOfferIsGivenBack(t *testing.T) {
	for name, prepare := range map[string]func(*bench){
		"the upstream cannot be reached": func(b *bench) { b.upstream.fault = connectFault },
		"the lane is paused": func(b *bench) {
			b.upstream.fault = connectFault
			b.put("a@example.com", "first@example.net")
			synctest.Wait()
		},
		"the rate is used up": func(b *bench) {
			b.settings.Rate = Rate{Messages: 1, Per: time.Minute}
			b.put("a@example.com", "first@example.net")
			synctest.Wait()
		},
		"other mail waits for the rate": func(b *bench) {
			b.settings.Rate = Rate{Messages: 1, Per: time.Minute}
			b.put("a@example.com", "first@example.net")
			b.put("a@example.com", "second@example.net")
			synctest.Wait()
		},
		"all connections are in use": func(b *bench) {
			b.upstream.delay = time.Second
			b.putMany(4)
			synctest.Wait()
		},
		"all connections of the account are in use": func(b *bench) {
			b.account = NewAccount(1, Rate{})
			b.account.mu.Lock()
			b.account.open = 1 // another lane's
			b.account.mu.Unlock()
			synctest.Wait()
		},
		"the sender's mail waits": func(b *bench) {
			b.meaning = func(diagnose.Symptom) diagnose.Diagnosis {
				return diagnose.Diagnosis{Category: diagnose.RateLimitIssues, Scope: diagnose.ScopeSender}
			}
			b.upstream.answer = always("450 4.7.1 too much from you\r\n")
			b.upstream.stage = diagnose.StageMail
			b.put("a@example.com", "first@example.net")
			pass(100 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.account = NewAccount(4, Rate{})
				stop := b.run(t)
				defer stop()
				synctest.Wait()
				prepare(b)
				before := b.upstream.offers()
				h := b.offer("a@example.com", "r@example.net")
				synctest.Wait()
				h.wantEnd(t, "released")
				if n := b.upstream.offers() - before; n != 0 {
					t.Errorf("%d recipients were offered", n)
				}
			})
		})
	}
}

// TestOfferAfterDueMail: mail of the spool that is due when a message is handed in is given to a connection
// before it.
func TestOfferAfterDueMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Concurrency = 2
		var order []string // as the lane queues them: which of two connections speaks first is not its choice
		b.reversePath = func(tx *relay.Transaction) string {
			order = append(order, tx.Message.ID)
			return tx.Message.Envelope.From
		}
		stop := b.run(t)
		defer stop()
		for range 20 {
			first := b.put("a@example.com", "r@example.net")
			h := b.offer("a@example.com", "r@example.net")
			synctest.Wait()
			h.wantEnd(t, "relayed")
			if last := order[len(order)-2:]; last[0] != first {
				t.Errorf("%s was queued before the message of the spool, %s", last[0], first)
			}
		}
	})
}

// TestOfferIsExtended: the lane asks for more time for a message that is offered for long.
func TestOfferIsExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.delay = 8 * time.Minute
		stop := b.run(t)
		defer stop()
		h := b.offer("a@example.com", "r@example.net")
		pass(7 * time.Minute)
		if h.extended == 0 {
			t.Error("it was never extended")
		}
		pass(2 * time.Minute)
		h.wantEnd(t, "relayed")
	})
}

// TestOfferAtTheEnd: a lane that ends finishes the message that is offered, and takes no other.
func TestOfferAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.delay = time.Second
		stop := b.run(t)
		h := b.offer("a@example.com", "r@example.net")
		synctest.Wait()
		stop()
		h.wantEnd(t, "relayed")
		if late := b.offer("a@example.com", "r@example.net"); late.in {
			t.Error("a lane that has ended took a message")
		}
	})
}

// TestOfferGivenBackAtTheEnd: a message that was handed in and not begun when the lane ends is given back.
func TestOfferGivenBackAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.account = NewAccount(1, Rate{})
		b.account.queue = []*Lane{New(Options{Name: "other"})} // whose turn it is
		stop := b.run(t)
		h := b.offer("a@example.com", "r@example.net")
		synctest.Wait()
		h.wantEnd(t, "under way")
		stop()
		h.wantEnd(t, "released")
	})
}

// TestOfferNotSettled: when the outcome cannot be stored only what was relayed is recorded, and no bounce is
// owed.
func TestOfferNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.upstream.answer = func(tx *relay.Transaction, i int) diagnose.Reply {
			return diagnose.ParseReply([]string{"250 ok\r\n", "450 later\r\n", "550 no\r\n"}[i])
		}
		stop := b.run(t)
		defer stop()
		synctest.Wait()
		h := &handedIn{no: errors.New("the disk is full"), m: &relay.Message{ID: "T1", Arrived: b.now(),
			Envelope:   relay.Envelope{From: "a@example.com"},
			Recipients: []relay.Recipient{{Address: "a@x.y"}, {Address: "b@x.y"}, {Address: "c@x.y"}}}}
		b.lane.Offer(context.Background(), h)
		synctest.Wait()
		for kind, want := range map[relay.EventKind]int{
			relay.EventRelayed: 1, relay.EventDeferred: 0, relay.EventFailed: 0,
		} {
			if n := b.log.count(kind); n != want {
				t.Errorf("%d events %s, want %d", n, kind, want)
			}
		}
	})
}
