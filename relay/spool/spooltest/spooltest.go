// Package spooltest is the conformance suite of relay.Spool. An engine passes it by calling Run from one test of its own:
//
//	func TestSpool(t *testing.T) {
//		spooltest.Run(t, func(t *testing.T) relay.Spool { ... })
//	}
//
// It tests what the port promises and no more: fairness, order and atomicity across messages are promises of single
// engines. The add-ons (NoticeSpool, Lister, Editor, Releaser) are tested where the engine has them. All times are taken
// from the machine's clock, and each sub-test has a spool of its own.
package spooltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Run runs the suite. open gives an empty spool, which it also closes when the test ends.
func Run(t *testing.T, open func(t *testing.T) relay.Spool) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, relay.Spool)
	}{
		{"KeepsEverything", keepsEverything},
		{"PutTwice", putTwice},
		{"PutAfterSettled", putAfterSettled},
		{"PutReaderFails", putReaderFails},
		{"PutCancelled", putCancelled},
		{"Contents", contents},
		{"LeaseOnce", leaseOnce},
		{"LeaseMax", leaseMax},
		{"LeaseOwnLane", leaseOwnLane},
		{"LeaseCopy", leaseCopy},
		{"NotDue", notDue},
		{"LeaseLapses", leaseLapses},
		{"Extend", extend},
		{"SettleDefers", settleDefers},
		{"SettleRemoves", settleRemoves},
		{"SettleHolds", settleHolds},
		{"SettleStale", settleStale},
		{"ManyAtOnce", manyAtOnce},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, open(t)) })
	}
	runNotices(t, open)
	runQueue(t, open)
}

// lane is the lane of all messages that do not say otherwise.
const lane = "provider"

// message makes a message with the given recipients, due at once.
func message(recipients ...string) *relay.Message {
	now := time.Now()
	m := &relay.Message{
		ID: relay.NewID(now), Lane: lane, Arrived: now,
		Envelope: relay.Envelope{From: "app@sender.example"},
	}
	if len(recipients) == 0 {
		recipients = []string{"someone@there.example"}
	}
	for _, r := range recipients {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: r, State: relay.Queued, NextAttempt: now})
	}
	return m
}

// put stores m.
func put(t *testing.T, s relay.Spool, m *relay.Message, content string) {
	t.Helper()
	if err := s.Put(t.Context(), m, bytes.NewReader([]byte(content))); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// lease leases up to max messages of the lane for a minute.
func lease(t *testing.T, s relay.Spool, max int) []relay.Lease {
	t.Helper()
	ls, _ := leaseUntil(t, s, max, time.Minute)
	return ls
}

// leaseUntil leases up to max messages of the lane for d.
func leaseUntil(t *testing.T, s relay.Spool, max int, d time.Duration) ([]relay.Lease, time.Time) {
	t.Helper()
	now := time.Now()
	ls, next, err := s.Lease(t.Context(), relay.LeaseQuery{Lane: lane, Now: now, Max: max, Until: now.Add(d)})
	if err != nil {
		t.Fatalf("Lease: %v", err)
	}
	return ls, next
}

// leaseOne leases the one message that is there.
func leaseOne(t *testing.T, s relay.Spool) relay.Lease {
	t.Helper()
	ls := lease(t, s, 10)
	if len(ls) != 1 {
		t.Fatalf("%d messages were leased, want 1", len(ls))
	}
	return ls[0]
}

// settle stores the state of a leased message's recipients as they stand in it.
func settle(t *testing.T, s relay.Spool, l relay.Lease, notices ...relay.Notice) {
	t.Helper()
	err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: l.Message.Recipients, Notices: notices})
	if err != nil {
		t.Fatalf("Settle: %v", err)
	}
}

// all sets the state of all recipients.
func all(m *relay.Message, state relay.State, next time.Time) {
	for i := range m.Recipients {
		m.Recipients[i].State = state
		m.Recipients[i].NextAttempt = next
	}
}

// read reads a content to its end.
func read(t *testing.T, s relay.Spool, id string) string {
	t.Helper()
	rc, err := s.Content(t.Context(), id)
	if err != nil {
		t.Fatalf("Content: %v", err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatalf("reading the content: %v", err)
	}
	return string(b)
}

func keepsEverything(t *testing.T, s relay.Spool) {
	want := fullMessage()
	put(t, s, want, "From: a\r\n\r\nbody\r\n")
	if want.Size != 17 {
		t.Errorf("Put set Size to %d, want 17", want.Size)
	}
	l := leaseOne(t, s)
	equal(t, l.Message, want)
	l.Message.Recipients[0] = fullRecipient()
	l.Message.Recipients[0].NextAttempt = time.Now()
	settle(t, s, l)
	want.Recipients[0] = l.Message.Recipients[0]
	equal(t, leaseOne(t, s).Message, want)
}

func putTwice(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "first")
	put(t, s, m, "second")
	leaseOne(t, s)
	if got := read(t, s, m.ID); got != "first" {
		t.Errorf("content %q, want the first one", got)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("a second lease gave %d messages", len(ls))
	}
}

func putAfterSettled(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "content")
	l := leaseOne(t, s)
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, s, l)
	put(t, s, m, "content")
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a message that has gone was stored again")
	}
}

func putReaderFails(t *testing.T, s relay.Spool) {
	broken := errors.New("the client went away")
	for _, size := range []int{10, 5 << 20} {
		r := io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(broken))
		if err := s.Put(t.Context(), message(), r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v, want the reader's error", size, err)
		}
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Errorf("%d messages were stored", len(ls))
	}
}

func putCancelled(t *testing.T, s relay.Spool) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := message()
	err := s.Put(ctx, m, bytes.NewReader(nil))
	if stored := len(lease(t, s, 10)) == 1; stored != (err == nil) {
		t.Errorf("Put returned %v, and stored is %v", err, stored)
	}
}

func contents(t *testing.T, s relay.Spool) {
	for _, size := range []int{0, 1, 4096, 256 << 10, 256<<10 + 1, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(i*7 + i>>8)
			}
			m := message()
			put(t, s, m, string(b))
			if m.Size != int64(size) {
				t.Errorf("Size %d, want %d", m.Size, size)
			}
			for range 2 {
				if got := read(t, s, m.ID); got != string(b) {
					t.Errorf("the content of %d bytes came back as %d other ones", size, len(got))
				}
			}
		})
	}
	if _, err := s.Content(t.Context(), relay.NewID(time.Now())); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("content of a message that is not there: %v", err)
	}
}

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
	ls, _, err := s.Lease(t.Context(), relay.LeaseQuery{Lane: lane, Now: due, Max: 3, Until: due.Add(time.Minute)})
	if err != nil || len(ls) != 1 {
		t.Errorf("%d leases at the due time, %v; want 1", len(ls), err)
	}
}

func leaseLapses(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	ls, _ := leaseUntil(t, s, 1, 50*time.Millisecond)
	old := ls[0]
	var again []relay.Lease
	for end := time.Now().Add(10 * time.Second); len(again) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		again = lease(t, s, 1)
	}
	if len(again) != 1 {
		t.Fatal("a lapsed lease was not given again")
	}
	err := s.Settle(t.Context(), old.Token, relay.Settlement{Recipients: old.Message.Recipients})
	if !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Settle by the lapsed lease: %v", err)
	}
	if err := s.Extend(t.Context(), old.Token, time.Now().Add(time.Hour)); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Extend of the lapsed lease: %v", err)
	}
	all(again[0].Message, relay.Relayed, time.Time{})
	settle(t, s, again[0])
}

func extend(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	ls, _ := leaseUntil(t, s, 1, 200*time.Millisecond)
	if err := s.Extend(t.Context(), ls[0].Token, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if again := lease(t, s, 1); len(again) != 0 {
		t.Error("an extended lease lapsed")
	}
	if err := s.Extend(t.Context(), "no-such-token", time.Now()); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Extend of a token that was never given: %v", err)
	}
}

func settleDefers(t *testing.T, s relay.Spool) {
	put(t, s, message("one@there.example", "two@there.example"), "x")
	l := leaseOne(t, s)
	soon := time.Now().Add(50 * time.Millisecond)
	l.Message.Recipients[0].State = relay.Relayed
	l.Message.Recipients[1].State = relay.Deferred
	l.Message.Recipients[1].NextAttempt = soon
	l.Message.Recipients[1].Attempts = 1
	settle(t, s, l)
	ls, next := leaseUntil(t, s, 1, time.Minute)
	if time.Now().Before(soon) && (len(ls) != 0 || !next.Equal(soon)) {
		t.Errorf("%d leases, next %v; want none before %v", len(ls), next, soon)
	}
	time.Sleep(time.Until(soon))
	if len(ls) == 0 {
		ls = lease(t, s, 1)
	}
	if len(ls) != 1 {
		t.Fatal("a deferred message did not come back")
	}
	if r := ls[0].Message.Recipients; r[0].State != relay.Relayed || r[1].Attempts != 1 {
		t.Errorf("recipients came back as %+v", r)
	}
}

func settleRemoves(t *testing.T, s relay.Spool) {
	m := message("one@there.example", "two@there.example")
	put(t, s, m, "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Relayed
	l.Message.Recipients[1].State = relay.Suppressed
	settle(t, s, l)
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("content of a message that nothing waits for: %v", err)
	}
	if ls, next := leaseUntil(t, s, 1, time.Minute); len(ls) != 0 || !next.IsZero() {
		t.Errorf("%d leases, next %v; want nothing", len(ls), next)
	}
}

func settleHolds(t *testing.T, s relay.Spool) {
	m := message()
	put(t, s, m, "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Held, time.Time{})
	settle(t, s, l)
	if ls, next := leaseUntil(t, s, 1, time.Minute); len(ls) != 0 || !next.IsZero() {
		t.Errorf("%d leases, next %v; want a held message to be left alone", len(ls), next)
	}
	if got := read(t, s, m.ID); got != "x" {
		t.Errorf("content of a held message: %q", got)
	}
}

func settleStale(t *testing.T, s relay.Spool) {
	put(t, s, message(), "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Deferred, time.Now().Add(time.Hour))
	settle(t, s, l)
	for _, token := range []relay.Token{l.Token, "", "no-such-token"} {
		err := s.Settle(t.Context(), token, relay.Settlement{Recipients: l.Message.Recipients})
		if !errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("Settle by %q: %v, want ErrStaleLease", token, err)
		}
	}
}

// manyAtOnce puts, leases and settles from several goroutines, and looks that each message was relayed once.
func manyAtOnce(t *testing.T, s relay.Spool) {
	const putters, each = 4, 25
	var wg sync.WaitGroup
	for range putters {
		wg.Go(func() {
			for range each {
				m := message()
				if err := s.Put(t.Context(), m, bytes.NewReader([]byte(m.ID))); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
	}
	relayed := map[string]int{}
	deferred := map[string]bool{}
	for end := time.Now().Add(time.Minute); len(relayed) < putters*each && time.Now().Before(end); {
		for _, l := range lease(t, s, 7) {
			if got := read(t, s, l.Message.ID); got != l.Message.ID {
				t.Errorf("%s has the content %q", l.Message.ID, got)
			}
			all(l.Message, relay.Relayed, time.Time{})
			if id := l.Message.ID; !deferred[id] && id[len(id)-1] < 'C' {
				deferred[id] = true
				all(l.Message, relay.Deferred, time.Now())
			} else {
				relayed[id]++
			}
			settle(t, s, l)
		}
	}
	wg.Wait()
	for id, n := range relayed {
		if n != 1 {
			t.Errorf("%s was relayed %d times", id, n)
		}
	}
	if len(relayed) != putters*each {
		t.Errorf("%d messages were relayed, want %d", len(relayed), putters*each)
	}
}

// fullMessage has a value in each field, with bytes that need care.
func fullMessage() *relay.Message {
	now := time.Now()
	return &relay.Message{
		ID: relay.NewID(now), Lane: lane, Arrived: now,
		Envelope: relay.Envelope{
			From: `"Odd one"@Sender.example`, Body: relay.Body8BitMIME, SMTPUTF8: true, Ret: relay.RetFull, EnvID: "id=1+2",
		},
		Recipients: []relay.Recipient{
			{Address: "Grüße@there.example", ORCPT: "rfc822;x+2By@there.example", Notify: relay.NotifySuccess | relay.NotifyDelay, State: relay.Queued, NextAttempt: now},
			{Address: "b@there.example", Notify: relay.NotifyNever, State: relay.Relayed},
		},
		Client:    relay.Client{Name: "web", User: "u", Addr: "192.0.2.1", Hello: "host\xff", TLS: "TLS1.3", Protocol: "ESMTPSA"},
		MessageID: "<1@sender.example>", Subject: "caf\xe9 \x00 <&> \u2028", HeaderFrom: "sender.example", DKIM: []string{"a.example", "b.example"},
		Report: true,
	}
}

// fullRecipient has a value in each field.
func fullRecipient() relay.Recipient {
	now := time.Now()
	return relay.Recipient{
		Address: "Grüße@there.example", ORCPT: "rfc822;x+2By@there.example", Notify: relay.NotifySuccess | relay.NotifyDelay,
		State: relay.Deferred, Attempts: 3, DelayTold: true, HeldFrom: relay.Deferred, HeldWhy: "asked for",
		Last: &relay.Attempt{
			Time: now, Duration: 1234567, Upstream: "provider", Host: "mx.example", Remote: "192.0.2.9:25", TLS: "TLS1.3",
			Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply("450 4.2.1 mailbox \xe9 busy\r\n"), UpstreamID: "q", Uncertain: true, DSN: true,
		},
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full", Fix: []string{"wait", "ask"}, Basis: diagnose.BasisText},
		History:   []relay.Past{{Time: now, Event: relay.EventDeferred, Stage: diagnose.StageRcpt, Reply: "450 \xe9\r\n"}},
	}
}
