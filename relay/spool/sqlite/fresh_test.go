package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool/spooltest"
)

// TestConformanceFromDatabase is the suite for a spool whose lanes are always behind.
func TestConformanceFromDatabase(t *testing.T) {
	spooltest.Run(t, func(t *testing.T) spooltest.Store { return testStore(t, Limits{Cache: -1}) })
}

// atHead opens a spool whose lane has nothing waiting, so that what is put now is leased from memory.
func atHead(t *testing.T, o Options) *Spool {
	t.Helper()
	s := openTest(t, o)
	t.Cleanup(func() { s.Close() })
	if ls := leaseSome(t, s, 1); len(ls) != 0 {
		t.Fatal("a new spool has messages")
	}
	return s
}

// held counts the fresh messages of the lane.
func (s *Spool) held() int {
	return s.queue.Lane("default").InMemory()
}

// TestFreshIsTheSame compares what is leased from memory with what the database has: the same messages, in
// the same order.
func TestFreshIsTheSame(t *testing.T) {
	s := atHead(t, Options{})
	random := rand.New(rand.NewPCG(1, 2))
	const n = 200
	for range n {
		m := benchMessage(fmt.Sprintf("%d@sender.example", random.IntN(20)))
		m.Subject, m.DKIM = "caf\xe9", []string{"sender.example"}
		if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	if s.held() != n {
		t.Fatalf("%d messages are in memory", s.held())
	}
	fromMemory := leaseSome(t, s, n)
	for _, l := range fromMemory {
		if err := s.Release(l.Token); err != nil {
			t.Fatal(err)
		}
	}
	fromDatabase := leaseSome(t, s, n)
	if len(fromMemory) != n || len(fromDatabase) != n {
		t.Fatalf("leased %d and %d messages", len(fromMemory), len(fromDatabase))
	}
	for i := range n {
		got, want := fromMemory[i].Message, fromDatabase[i].Message
		for _, m := range []*relay.Message{got, want} { // where it is shown is not part of a time
			m.Arrived = m.Arrived.UTC()
			m.Recipients[0].NextAttempt = m.Recipients[0].NextAttempt.UTC()
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("message %d: from memory\n%+v\nfrom the database\n%+v", i, got, want)
		}
	}
}

// TestFreshIsForgotten changes messages that are in memory behind the lane's back: the change holds.
func TestFreshIsForgotten(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *Spool, id string){
		"held": func(t *testing.T, s *Spool, id string) {
			edit(t, s, id, func(m *relay.Message) bool { m.Recipients[0].State = relay.Held; return false })
		},
		"dropped": func(t *testing.T, s *Spool, id string) {
			edit(t, s, id, func(*relay.Message) bool { return true })
		},
		"put off": func(t *testing.T, s *Spool, id string) {
			edit(t, s, id, func(m *relay.Message) bool {
				m.Recipients[0].NextAttempt = time.Now().Add(time.Hour)
				return false
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := atHead(t, Options{})
			ids := make([]string, 3)
			for i := range ids {
				ids[i], _ = putOne(s, 10)
			}
			if s.held() != 3 {
				t.Fatalf("%d messages are in memory", s.held())
			}
			change(t, s, ids[1])
			var got []string
			for _, l := range leaseSome(t, s, 10) {
				got = append(got, l.Message.ID)
			}
			if want := []string{ids[0], ids[2]}; !reflect.DeepEqual(got, want) {
				t.Errorf("leased %v, want %v", got, want)
			}
		})
	}
}

// edit changes one message as an operator does.
func edit(t *testing.T, s *Spool, id string, change func(*relay.Message) (drop bool)) {
	t.Helper()
	err := s.Edit(t.Context(), id, func(m *relay.Message) (relay.Settlement, bool, error) {
		drop := change(m)
		return relay.Settlement{Recipients: m.Recipients}, drop, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRerouteFresh gives messages that another lane has in memory to the lane: that one leases them, and
// the other none.
func TestRerouteFresh(t *testing.T) {
	s := atHead(t, Options{})
	query := func(lane string) []relay.Lease {
		ls, _, err := s.Lease(t.Context(),
			relay.LeaseQuery{Lane: lane, Now: time.Now(), Max: 10, For: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return ls
	}
	query("old")
	m := benchMessage("app@sender.example")
	m.Lane = "old"
	if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Reroute(t.Context(), []string{"default"}, "default"); err != nil || n != 1 {
		t.Fatalf("rerouted %d messages, %v", n, err)
	}
	ls := query("default")
	if len(ls) != 1 {
		t.Fatalf("the new lane leased %d messages", len(ls))
	}
	ls[0].Message.Recipients[0].State = relay.Relayed
	if err := s.Settle(t.Context(), ls[0].Token,
		relay.Settlement{Recipients: ls[0].Message.Recipients}); err != nil {
		t.Fatal(err)
	}
	if ls := query("old"); len(ls) != 0 {
		t.Error("the old lane leased a message that was relayed by the new one")
	}
}

// TestFreshOverflows puts more messages than are kept in memory: all are leased, once, and in order.
func TestFreshOverflows(t *testing.T) {
	s := atHead(t, Options{Limits: Limits{Cache: 8000}}) // of which each takes some 1300
	var want, got []string
	for range 12 {
		id, err := putOne(s, 10)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
		if len(want) == 3 {
			got = append(got, leaseSome(t, s, 1)[0].Message.ID)
		}
	}
	for range 4 {
		for _, l := range leaseSome(t, s, 4) {
			got = append(got, l.Message.ID)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("leased %v, want %v", got, want)
	}
	if id, _ := putOne(s, 10); s.held() != 1 || leaseSome(t, s, 1)[0].Message.ID != id {
		t.Error("the line does not return to memory once it has caught up")
	}
}

// TestFreshClockSetBack sets the clock back while messages are in memory: as long as they lie ahead they
// are not leased.
func TestFreshClockSetBack(t *testing.T) {
	c := newClock()
	s := atHead(t, Options{Now: c.Now, MaxDelay: 24 * time.Hour})
	m := benchMessage("app@sender.example")
	m.Recipients[0].NextAttempt = c.Now()
	if err := s.Put(t.Context(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	c.add(-time.Hour)
	lease := func() int {
		ls, _, err := s.Lease(t.Context(),
			relay.LeaseQuery{Lane: "default", Now: c.Now(), Max: 10, For: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return len(ls)
	}
	if s.held() != 1 || lease() != 0 {
		t.Error("a message was leased an hour before its time")
	}
	c.add(time.Hour + time.Minute)
	if lease() != 1 {
		t.Error("a message was not leased at its time")
	}
}

// TestFreshUnderRace puts, leases, releases, edits and settles from many sides: each message is settled
// exactly once.
func TestFreshUnderRace(t *testing.T) {
	s := atHead(t, Options{Limits: Limits{Cache: 30000}})
	const n = 400
	go func() {
		for i := range n {
			m := benchMessage(fmt.Sprintf("%d@sender.example", i%7))
			if err := s.Put(context.Background(), []*relay.Message{m}, strings.NewReader("x")); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				s.Edit(context.Background(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
					return relay.Settlement{Recipients: m.Recipients}, false, nil
				})
			}
		}
	}()
	settled := map[string]bool{}
	for end := time.Now().Add(30 * time.Second); len(settled) < n && time.Now().Before(end); {
		for i, l := range leaseSome(t, s, 5) {
			if settled[l.Message.ID] {
				t.Fatal("a message was leased after it was settled")
			}
			if i == 4 {
				s.Release(l.Token)
				continue
			}
			l.Message.Recipients[0].State = relay.Relayed
			if err := s.Settle(t.Context(), l.Token,
				relay.Settlement{Recipients: l.Message.Recipients}); err != nil {
				t.Fatal(err)
			}
			settled[l.Message.ID] = true
		}
	}
	if st, err := s.Stat(t.Context()); len(settled) != n || err != nil || st.Messages != 0 {
		t.Errorf("%d of %d messages were settled, %d are left, %v", len(settled), n, st.Messages, err)
	}
}
