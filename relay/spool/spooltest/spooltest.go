// Package spooltest is the conformance suite of relay.Spool. An engine passes it by calling Run from one
// test of its own:
//
//	func TestSpool(t *testing.T) {
//		spooltest.Run(t, func(t *testing.T) spooltest.Store { ... })
//	}
//
// It tests what the port promises and no more: fairness and order are promises of single engines. The add-ons
// (Outbox, Lister, Editor, Stager, Releaser, Admitter,
// Watcher) are tested where the engine has them. All times are
// taken from the machine's clock, and each test has a store of its own.
package spooltest

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Store is where an engine keeps messages: a directory, a database.
type Store struct {
	// Open opens the store, and makes it the first time. What it returns has a Close method.
	Open func() (relay.Spool, error)
	// Shared says that several may have the store open at a time. Of an engine that cannot, a second Open
	// must fail while the first is open.
	Shared bool
	// Crash has a spool that is open say nothing more to the others, like a process that was killed, is
	// frozen or cut off; what is called on it afterwards comes too late. RunShared needs it.
	Crash func(relay.Spool)
}

// Run runs the suite. newStore gives a store that is empty.
func Run(t *testing.T, newStore func(t *testing.T) Store) {
	run(t, newStore, "", []test[relay.Spool]{
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
		{"SettleOthers", settleOthers},
		{"SettleCancelled", settleCancelled},
		{"ManyAtOnce", manyAtOnce},
		{"PartsShareContent", partsShareContent},
		{"PartsTwice", partsTwice},
		{"Move", move},
	})
	run(t, newStore, "an outbox", outboxTests)
	run(t, newStore, "a list of its messages, and edits", queueTests)
	run(t, newStore, "messages that come in two steps, and an outbox", stagedTests)
	run(t, newStore, "leases that end without a write", []test[releaser]{{"Release", release}})
	run(t, newStore, "an answer before the mail", []test[admitter]{{"Admit", admit}})
	run(t, newStore, "a watch", []test[watcher]{{"Watch", watch}})
	t.Run("Reopen", func(t *testing.T) { reopen(t, newStore(t)) })
	t.Run("TwoHandles", func(t *testing.T) { twoHandles(t, newStore(t)) })
}

// test is a test of an engine that has what S has.
type test[S any] struct {
	name string
	test func(*testing.T, S)
}

// run runs tests, each on a store of its own. Of an engine without the add-on that they are about, which
// has is the words for, they are skipped.
func run[S any](t *testing.T, newStore func(t *testing.T) Store, has string, tests []test[S]) {
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, ok := newStore(t).open(t).(S)
			if !ok {
				t.Skip("skipping: this engine does not have " + has)
			}
			tc.test(t, s)
		})
	}
}

// open opens the store until the test ends.
func (st Store) open(t *testing.T) relay.Spool {
	t.Helper()
	s, err := st.Open()
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeSpool(t, s) })
	return s
}

// closeSpool closes s; a second time is harmless.
func closeSpool(t *testing.T, s relay.Spool) {
	t.Helper()
	if err := s.(io.Closer).Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
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
		m.Recipients = append(m.Recipients,
			relay.Recipient{Address: r, State: relay.Queued, NextAttempt: now})
	}
	return m
}

// put stores m.
func put(t *testing.T, s relay.Spool, m *relay.Message, content string) {
	t.Helper()
	putParts(t, s, content, m)
}

// putParts stores the messages of one mail.
func putParts(t *testing.T, s relay.Spool, content string, ms ...*relay.Message) {
	t.Helper()
	if err := s.Put(t.Context(), ms, bytes.NewReader([]byte(content))); err != nil {
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
	return leaseOf(t, s, relay.LeaseQuery{Lane: lane, Now: time.Now(), Max: max, For: d})
}

// leaseOf leases what q says.
func leaseOf(t *testing.T, s relay.Spool, q relay.LeaseQuery) ([]relay.Lease, time.Time) {
	t.Helper()
	ls, next, err := s.Lease(t.Context(), q)
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

// settle stores the state of a leased message's recipients as they stand in it, and what is owed.
func settle(t *testing.T, s relay.Spool, l relay.Lease, owed ...relay.Entry) {
	t.Helper()
	err := s.Settle(t.Context(), l.Token, relay.Settlement{Recipients: l.Message.Recipients, Owed: owed})
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

// manyAtOnce puts, leases and settles from several goroutines, and looks that each message was relayed once.
func manyAtOnce(t *testing.T, s relay.Spool) {
	const putters, each = 4, 25
	var wg sync.WaitGroup
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
			From: `"Odd one"@Sender.example`, Body: relay.Body8BitMIME, SMTPUTF8: true, Ret: relay.RetFull,
			EnvID: "id=1+2",
		},
		Recipients: []relay.Recipient{
			{Address: "Grüße@there.example", ORCPT: "rfc822;x+2By@there.example",
				Notify: relay.NotifySuccess | relay.NotifyDelay, State: relay.Queued, NextAttempt: now},
			{Address: "b@there.example", Notify: relay.NotifyNever, State: relay.Relayed},
		},
		Client: relay.Client{Name: "web", User: "u", Addr: "192.0.2.1", Hello: "host\xff", TLS: "TLS1.3",
			Protocol: "ESMTPSA"},
		MessageID: "<1@sender.example>", Subject: "caf\xe9 \x00 <&> \u2028", HeaderFrom: "sender.example",
		TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331",
		DKIM:    []string{"a.example", "b.example"},
		Headers: map[string]string{"list-id": "<news.sender.example>", "x-empty": ""},
		Report:  true,
	}
}

// fullRecipient has a value in each field.
func fullRecipient() relay.Recipient {
	now := time.Now()
	return relay.Recipient{
		Address: "Grüße@there.example", ORCPT: "rfc822;x+2By@there.example",
		Notify: relay.NotifySuccess | relay.NotifyDelay,
		State:  relay.Deferred, Attempts: 3, DelayReported: true, HeldFrom: relay.Deferred,
		HeldWhy: "asked for", Archive: true,
		Last: &relay.Attempt{
			Time: now, Duration: 1234567, Upstream: "provider", Host: "mx.example", Remote: "192.0.2.9:25",
			TLS:   "TLS1.3",
			Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply("450 4.2.1 mailbox \xe9 busy\r\n"),
			UpstreamID: "q", Uncertain: true, DSN: true,
		},
		Diagnosis: &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full",
			Fix: []string{"wait", "ask"}, Basis: diagnose.BasisText},
		History: []relay.HistoryEntry{{Time: now, Event: relay.EventDeferred, Stage: diagnose.StageRcpt,
			Reply: "450 \xe9\r\n"}},
	}
}
