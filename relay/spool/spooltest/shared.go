package spooltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
)

// sharedSpool is a spool of which several handles have the same store open.
type sharedSpool interface {
	relay.Spool
	relay.Outbox
	relay.Lister
	relay.Editor
	relay.Releaser
	relay.Watcher
}

// RunShared runs the suite of engines whose stores may be shared, with two handles on one store. newStore
// gives a store that is empty, and that has a Crash.
func RunShared(t *testing.T, newStore func(t *testing.T) Store) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, st Store, one, two sharedSpool)
	}{
		{"LeaseOnce", sharedLeaseOnce},
		{"PutTwice", sharedPutTwice},
		{"ManyAtOnce", sharedManyAtOnce},
		{"GivesBackUnasked", givesBackUnasked},
		{"GivesBackAtClose", givesBackAtClose},
		{"TakenOver", takenOver},
		{"StaleAfterTakeover", staleAfterTakeover},
		{"EditWaits", sharedEditWaits},
		{"EditUnasked", editUnasked},
		{"AnsweredOnce", answeredOnce},
		{"AnsweredOnceAfterTakeover", answeredOnceAfterTakeover},
		{"Watch", sharedWatch},
		{"RerouteLeased", sharedReroute},
		{"PartsShareContent", sharedParts},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := newStore(t)
			tc.test(t, st, st.open(t).(sharedSpool), st.open(t).(sharedSpool))
		})
	}
}

// patience is how long the suite waits for what a handle does by itself: others may be busy, too.
const patience = time.Minute

// eventually calls ok until it is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// leaseSoon leases the one message that comes to be due.
func leaseSoon(t *testing.T, s relay.Spool) (l relay.Lease) {
	t.Helper()
	eventually(t, "the message is to be leased", func() bool {
		ls := lease(t, s, 10)
		if len(ls) > 1 {
			t.Fatalf("%d messages were leased, want 1", len(ls))
		}
		if len(ls) == 1 {
			l = ls[0]
		}
		return len(ls) == 1
	})
	return l
}

// sharedLeaseOnce: what both put, and both lease, is leased once.
func sharedLeaseOnce(t *testing.T, _ Store, one, two sharedSpool) {
	const each = 20
	var mu sync.Mutex
	seen := map[string]int{}
	take := func(s relay.Spool) {
		ls := lease(t, s, 3)
		mu.Lock()
		defer mu.Unlock()
		for _, l := range ls {
			seen[l.Message.ID]++
		}
	}
	all := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	var wg sync.WaitGroup
	for _, s := range []relay.Spool{one, two} {
		wg.Go(func() {
			for range each {
				take(s)
				if err := s.Put(t.Context(), []*relay.Message{message()},
					strings.NewReader("x")); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		wg.Go(func() {
			for end := time.Now().Add(patience); all() < 2*each && time.Now().Before(end); {
				take(s)
			}
		})
	}
	wg.Wait()
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was leased %d times", id, n)
		}
	}
	if len(seen) != 2*each {
		t.Errorf("%d messages were leased, want %d", len(seen), 2*each)
	}
}

// sharedPutTwice: a message that both put is stored once, also after it was leased.
func sharedPutTwice(t *testing.T, _ Store, one, two sharedSpool) {
	for range 2 { // the second time one keeps what it is given
		m := message()
		put(t, one, m, "first")
		put(t, two, m, "second")
		l := leaseSoon(t, one)
		put(t, two, m, "third")
		if got := read(t, two, m.ID); got != "first" {
			t.Errorf("the content is %q", got)
		}
		all(l.Message, relay.Relayed, time.Time{})
		settle(t, one, l)
		if got := ids(t, two, relay.QueueFilter{}); len(got) != 0 {
			t.Errorf("still there: %v", got)
		}
	}
}

// sharedManyAtOnce puts, leases, defers and settles over both, and looks that each message was relayed once.
func sharedManyAtOnce(t *testing.T, _ Store, one, two sharedSpool) {
	const putters, each = 3, 25
	handles := []sharedSpool{one, two}
	var mu sync.Mutex
	relayed, leased, deferred := map[string]int{}, map[string]bool{}, map[string]bool{}
	work := func(s relay.Spool) {
		for _, l := range lease(t, s, 5) {
			id := l.Message.ID
			mu.Lock()
			if leased[id] {
				t.Errorf("%s is leased twice at a time", id)
			}
			leased[id] = true
			again := !deferred[id] && id[len(id)-1] < 'C'
			deferred[id] = true
			mu.Unlock()
			if got := read(t, s, id); got != id {
				t.Errorf("%s has the content %q", id, got)
			}
			all(l.Message, relay.Relayed, time.Time{})
			if again {
				all(l.Message, relay.Deferred, time.Now())
			}
			mu.Lock()
			leased[id] = false
			if !again {
				relayed[id]++
			}
			mu.Unlock()
			settle(t, s, l)
		}
	}
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(relayed) == len(handles)*putters*each
	}
	var wg sync.WaitGroup
	for _, s := range handles {
		for range putters {
			wg.Go(func() {
				for range each {
					m := message()
					if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader(m.ID)); err != nil {
						t.Errorf("Put: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for end := time.Now().Add(patience); !done() && time.Now().Before(end); {
				work(s)
			}
		})
	}
	wg.Wait()
	for id, n := range relayed {
		if n != 1 {
			t.Errorf("%s was relayed %d times", id, n)
		}
	}
	if !done() {
		t.Errorf("%d messages were relayed, want %d", len(relayed), len(handles)*putters*each)
	}
}

// sharedEditWaits: an edit waits for the lease that the other handle gave.
func sharedEditWaits(t *testing.T, _ Store, one, two sharedSpool) {
	m := message()
	put(t, one, m, "x")
	l := leaseSoon(t, one)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	never := func(*relay.Message) (relay.Settlement, bool, error) {
		t.Error("a leased message was edited")
		return relay.Settlement{}, false, errors.New("too early")
	}
	if err := two.Edit(ctx, m.ID, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Edit of a leased message: %v, want that the context ended", err)
	}
	edited := make(chan error, 1)
	go func() {
		edited <- two.Edit(t.Context(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
			if m.Recipients[0].Attempts != 1 {
				t.Error("Edit saw the message as it was before the settlement")
			}
			all(m, relay.Queued, time.Now())
			return relay.Settlement{Recipients: m.Recipients}, false, nil
		})
	}()
	l.Message.Recipients[0].Attempts = 1
	all(l.Message, relay.Deferred, time.Now().Add(time.Hour))
	settle(t, one, l)
	if err := <-edited; err != nil {
		t.Error(err)
	}
	if got := leaseSoon(t, one).Message.Recipients[0]; got.State != relay.Queued || got.Attempts != 1 {
		t.Errorf("after the edit: %+v", got)
	}
}

// editUnasked: an edit gets a message that the other handle was given and has not handed out.
func editUnasked(t *testing.T, _ Store, one, two sharedSpool) {
	lease(t, one, 1)
	m := message()
	put(t, one, m, "x")
	drop := func(*relay.Message) (relay.Settlement, bool, error) { return relay.Settlement{}, true, nil }
	if err := two.Edit(t.Context(), m.ID, drop); err != nil {
		t.Fatal(err)
	}
	put(t, one, m, "x")
	if got := ids(t, one, relay.QueueFilter{}); len(got) != 0 {
		t.Errorf("a message that was dropped is there: %v", got)
	}
	if err := one.Edit(t.Context(), m.ID, drop); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("Edit of a message that has gone: %v", err)
	}
}

// reportsOn is an answer to entries, by a report of its own.
func reportsOn(entries []relay.Entry) (relay.Answer, string) {
	dsn := message("app@sender.example")
	dsn.Report, dsn.Lane = true, "reports"
	return relay.Answer{
		Entries: entries, Messages: []*relay.Message{dsn}, Content: strings.NewReader("the report"),
	}, dsn.ID
}

// answeredOnce: two consumers of two handles have the same entries, since the claim of the first has ended.
// Only one of them answers, whichever comes first, and whether the other one's claim has ended by then or
// not.
func answeredOnce(t *testing.T, _ Store, one, two sharedSpool) {
	for _, tc := range []struct{ lateFirst, givenBack bool }{{}, {givenBack: true}, {lateFirst: true}} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			fail(t, one, time.Now(), "a@x.example", "b@x.example")
			late := claimOne(t, one)
			if tc.lateFirst {
				a, id := reportsOn(late.Entries)
				one.GiveBack(late.Token)
				if err := one.Consume(t.Context(), a); err != nil {
					t.Fatal(err)
				}
				onlyReport(t, two, id)
				return
			}
			one.GiveBack(late.Token)
			now := claimOne(t, two)
			a, id := reportsOn(now.Entries)
			if err := two.Consume(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if tc.givenBack {
				two.GiveBack(now.Token)
			}
			b, _ := reportsOn(late.Entries)
			if err := one.Consume(t.Context(), b); !errors.Is(err, relay.ErrStaleLease) {
				t.Errorf("the second answer: %v", err)
			}
			onlyReport(t, two, id)
		})
	}
}

// onlyReport looks that there is one report, and removes it.
func onlyReport(t *testing.T, s sharedSpool, id string) {
	t.Helper()
	if got := ids(t, s, relay.QueueFilter{Lane: "reports"}); !slices.Equal(got, []string{id}) {
		t.Fatalf("the reports are %v, want %s", got, id)
	}
	drop := func(*relay.Message) (relay.Settlement, bool, error) { return relay.Settlement{}, true, nil }
	if err := s.Edit(t.Context(), id, drop); err != nil {
		t.Fatal(err)
	}
}

// sharedWatch: a handle that asks for a lane's mail hears of what the other one puts there.
func sharedWatch(t *testing.T, _ Store, one, two sharedSpool) {
	heard := make(chan string, 100)
	defer one.Watch(func(lane string) { heard <- lane })()
	if ls := lease(t, one, 1); len(ls) != 0 {
		t.Fatal("something is there")
	}
	m := message()
	put(t, two, m, "x")
	for end := time.After(patience); ; {
		select {
		case got := <-heard:
			if got != lane {
				continue
			}
		case <-end:
			t.Fatal("nobody was told")
		}
		break
	}
	if l := leaseOne(t, one); l.Message.ID != m.ID {
		t.Errorf("leased %s", l.Message.ID)
	}
}

// sharedReroute: a message that the other handle has leased goes to the other lane when it is settled.
func sharedReroute(t *testing.T, _ Store, one, two sharedSpool) {
	m := message()
	put(t, one, m, "x")
	l := leaseSoon(t, one)
	if n, err := two.Reroute(t.Context(), []string{backup}, backup); err != nil || n != 1 {
		t.Fatalf("Reroute moved %d, %v; want 1", n, err)
	}
	all(l.Message, relay.Deferred, time.Now())
	settle(t, one, l)
	ls, _ := leaseOf(t, two, relay.LeaseQuery{Lane: backup, Now: time.Now(), Max: 10, For: time.Minute})
	if len(ls) != 1 || ls[0].Message.ID != m.ID || ls[0].Message.Lane != backup {
		t.Errorf("leased %+v", ls)
	}
}

// sharedParts: two handles settle the messages of a mail at the same time, and the content goes with the
// last.
func sharedParts(t *testing.T, _ Store, one, two sharedSpool) {
	for range 3 {
		a, b := parts()
		putParts(t, one, "shared", a, b)
		var wg sync.WaitGroup
		wg.Go(func() {
			l := leaseSoon(t, one)
			all(l.Message, relay.Relayed, time.Time{})
			settle(t, one, l)
		})
		wg.Go(func() {
			eventually(t, "the second message is to be leased", func() bool {
				relayAll(t, two, backup)
				return len(ids(t, two, relay.QueueFilter{IDs: []string{b.ID}})) == 0
			})
		})
		wg.Wait()
		if st, err := one.Stat(t.Context()); err != nil || st.Messages != 0 || st.Bytes != 0 {
			t.Errorf("left: %+v, %v", st, err)
		}
		for _, m := range []*relay.Message{a, b} {
			if _, err := two.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("the content of %s: %v", m.Lane, err)
			}
		}
	}
}
