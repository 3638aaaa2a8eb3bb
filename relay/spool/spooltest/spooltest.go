// Package spooltest is the conformance suite of relay.Spool. An engine passes it by calling Run from one
// test of its own:
//
//	func TestSpool(t *testing.T) {
//		spooltest.Run(t, func(t *testing.T) relay.Spool { ... })
//	}
//
// It tests what the port promises and no more: fairness, order and atomicity across messages are promises
// of single engines. The add-ons (NoticeSpool, Lister, Editor, Releaser) are tested where the engine has
// them. All times are taken from the machine's clock, and each sub-test has a spool of its own.
package spooltest

import (
	"bytes"
	"io"
	"sync"
	"testing"
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
		m.Recipients = append(m.Recipients,
			relay.Recipient{Address: r, State: relay.Queued, NextAttempt: now})
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
	err := s.Settle(t.Context(), l.Token,
		relay.Settlement{Recipients: l.Message.Recipients, Notices: notices})
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
		DKIM:   []string{"a.example", "b.example"},
		Report: true,
	}
}

// fullRecipient has a value in each field.
func fullRecipient() relay.Recipient {
	now := time.Now()
	return relay.Recipient{
		Address: "Grüße@there.example", ORCPT: "rfc822;x+2By@there.example",
		Notify: relay.NotifySuccess | relay.NotifyDelay,
		State:  relay.Deferred, Attempts: 3, DelayReported: true, HeldFrom: relay.Deferred,
		HeldWhy: "asked for",
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
