package spooltest

import (
	"testing"
	"time"

	"mailwhy/relay"
)

// copiesOut: what the engine hands out is the caller's own.
func copiesOut(t *testing.T, s queueSpool) {
	put(t, s, message("kept@there.example"), "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].Address = "changed@there.example"
	l.Message.Envelope.From = "changed@sender.example"
	for range 2 {
		err := s.List(t.Context(), relay.QueueFilter{}, func(m *relay.Message) bool {
			if m.Recipients[0].Address != "kept@there.example" ||
				m.Envelope.From == "changed@sender.example" {
				t.Errorf("the engine's own message was changed: %+v", m)
			}
			m.Recipients[0].Address, m.Envelope.From = "changed@there.example", "changed@sender.example"
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// claimCopies: a claim's message is the consumer's own, and an entry's payload the engine's.
func claimCopies(t *testing.T, s outboxSpool) {
	put(t, s, message("kept@there.example"), "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Failed, time.Time{})
	e := relay.Entry{Topic: relay.TopicReport, Key: "failed/0", Due: time.Now(), Payload: []byte("kept")}
	settle(t, s, l, e)
	copy(e.Payload, "lost")
	c := claimOne(t, s)
	if string(c.Entries[0].Payload) != "kept" {
		t.Errorf("the payload is %q: the engine keeps the caller's slice", c.Entries[0].Payload)
	}
	c.Message.Recipients[0].Address = "changed@there.example"
	s.GiveBack(c.Token)
	if c := claimOne(t, s); c.Message.Recipients[0].Address != "kept@there.example" {
		t.Error("a consumer changed the engine's own message")
	}
}

// claimAndLease: a claim keeps nobody from leasing the message.
func claimAndLease(t *testing.T, s outboxSpool) {
	put(t, s, message("fails@there.example", "waits@there.example"), "x")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Failed
	l.Message.Recipients[1].State, l.Message.Recipients[1].NextAttempt = relay.Deferred, time.Now()
	settle(t, s, l, relay.Notice{Kind: relay.NoticeFailed, Due: time.Now()}.Entry())
	claimOne(t, s)
	all(leaseOne(t, s).Message, relay.Relayed, time.Time{})
}

// consumeLapsed: a claim that has ended still answers, as long as nobody else has the entries.
func consumeLapsed(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	q := dueNow(10)
	q.For = time.Millisecond
	c, _ := claimOf(t, s, q)
	time.Sleep(20 * time.Millisecond)
	consume(t, s, c[0].Entries, nil)
	if c := claim(t, s, 10); len(c) != 0 {
		t.Errorf("still owed: %+v", c)
	}
}

// editOwes: an edit stores what is owed for it.
func editOwes(t *testing.T, s queueSpool) {
	o, ok := s.(outboxSpool)
	if !ok {
		t.Skip("skipping: this engine does not have an outbox")
	}
	m := message()
	put(t, s, m, "x")
	err := s.Edit(t.Context(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
		all(m, relay.Failed, time.Time{})
		n := relay.Notice{Kind: relay.NoticeFailed, Due: time.Now()}
		return relay.Settlement{Recipients: m.Recipients, Owed: []relay.Entry{n.Entry()}}, false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := claimOne(t, o); c.Message.ID != m.ID {
		t.Errorf("claimed %+v", c)
	}
}

// dropIsKnown: a message that was dropped is not stored again.
func dropIsKnown(t *testing.T, s queueSpool) {
	m := message()
	put(t, s, m, "x")
	drop := func(*relay.Message) (relay.Settlement, bool, error) { return relay.Settlement{}, true, nil }
	if err := s.Edit(t.Context(), m.ID, drop); err != nil {
		t.Fatal(err)
	}
	put(t, s, m, "x")
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a dropped message was stored again")
	}
}

// bytesOnce: the content of a mail for several lanes is counted once.
func bytesOnce(t *testing.T, s queueSpool) {
	a, b := parts()
	putParts(t, s, "12345", a, b)
	if st, err := s.Stat(t.Context()); err != nil || st.Messages != 2 || st.Bytes != 5 {
		t.Errorf("Stat gives %+v, %v; want two messages of 5 bytes together", st, err)
	}
}

// rerouteLeased: a message that is leased goes to the other lane when it is settled.
func rerouteLeased(t *testing.T, s queueSpool) {
	m := message()
	m.Lane = "gone"
	put(t, s, m, "x")
	ls, _ := leaseOf(t, s, relay.LeaseQuery{Lane: "gone", Now: time.Now(), Max: 1, For: time.Minute})
	if n, err := s.Reroute(t.Context(), []string{lane}, lane); err != nil || n != 1 || len(ls) != 1 {
		t.Fatalf("Reroute moved %d, %v; want the leased one", n, err)
	}
	all(ls[0].Message, relay.Deferred, time.Now())
	settle(t, s, ls[0])
	if l := leaseOne(t, s); l.Message.ID != m.ID {
		t.Errorf("leased %s", l.Message.ID)
	}
}
