package spooltest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// outboxSpool is a spool with an outbox.
type outboxSpool interface {
	relay.Spool
	relay.Outbox
}

// outboxTests are those of the Outbox.
var outboxTests = []test[outboxSpool]{
	{"EntriesKeepMessage", entriesKeepMessage},
	{"MoveWithEntries", moveWithEntries},
	{"EntriesNotDue", entriesNotDue},
	{"EntryAgain", entryAgain},
	{"ClaimMax", claimMax},
	{"ClaimOnce", claimOnce},
	{"ClaimLapses", claimLapses},
	{"GiveBack", giveBack},
	{"Topics", topics},
	{"ConsumeStores", consumeStores},
	{"ConsumeOnce", consumeOnce},
	{"ConsumeOverSeveral", consumeOverSeveral},
	{"ConsumeStale", consumeStale},
	{"Postpone", postpone},
	{"ClaimCopies", claimCopies},
	{"ClaimAndLease", claimAndLease},
	{"ConsumeLapsed", consumeLapsed},
}

// fail stores a message and settles it as failed for all recipients, with a notice for each that is due at
// due.
func fail(t *testing.T, s relay.Spool, due time.Time, recipients ...string) *relay.Message {
	t.Helper()
	put(t, s, message(recipients...), "original")
	l := leaseOne(t, s)
	all(l.Message, relay.Failed, time.Time{})
	var owed []relay.Entry
	for i := range l.Message.Recipients {
		n := relay.Notice{Message: l.Message.ID, Recipient: i, Kind: relay.NoticeFailed, Due: due}
		owed = append(owed, n.Entry())
	}
	settle(t, s, l, owed...)
	return l.Message
}

// claimOf claims what q says.
func claimOf(t *testing.T, s relay.Outbox, q relay.ClaimQuery) ([]relay.Claim, time.Time) {
	t.Helper()
	c, next, err := s.Claim(t.Context(), q)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return c, next
}

// claim claims the due notices of up to max messages for a minute.
func claim(t *testing.T, s relay.Outbox, max int) []relay.Claim {
	t.Helper()
	c, _ := claimOf(t, s, dueNow(max))
	return c
}

// dueNow asks for the due notices of up to max messages, for a minute.
func dueNow(max int) relay.ClaimQuery {
	return relay.ClaimQuery{Topic: relay.TopicReport, Now: time.Now(), Max: max, For: time.Minute}
}

// claimOne claims the entries of the one message that has some.
func claimOne(t *testing.T, s relay.Outbox) relay.Claim {
	t.Helper()
	c := claim(t, s, 10)
	if len(c) != 1 {
		t.Fatalf("%d messages were claimed, want 1", len(c))
	}
	return c[0]
}

// consume consumes entries and stores dsn, unless that is nil.
func consume(t *testing.T, s relay.Outbox, entries []relay.Entry, dsn *relay.Message) {
	t.Helper()
	a := relay.Answer{Entries: entries}
	if dsn != nil {
		a.Messages, a.Content = []*relay.Message{dsn}, strings.NewReader("the report")
	}
	if err := s.Consume(t.Context(), a); err != nil {
		t.Fatalf("Consume: %v", err)
	}
}

func entriesKeepMessage(t *testing.T, s outboxSpool) {
	m := fail(t, s, time.Now(), "a@there.example", "b@there.example")
	c, next := claimOf(t, s, dueNow(10))
	if len(c) != 1 || len(c[0].Entries) != 2 || !next.IsZero() {
		t.Fatalf("claimed %+v, next %v; want two entries of one message", c, next)
	}
	equal(t, c[0].Message, m)
	n, err := relay.NoticeOf(c[0].Entries[1])
	if err != nil || n.Message != m.ID || n.Recipient != 1 || n.Kind != relay.NoticeFailed ||
		n.Claim != c[0].Token {
		t.Errorf("notice %+v, %v", n, err)
	}
	if got := read(t, s, m.ID); got != "original" {
		t.Errorf("the content of a message that entries wait for is %q", got)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a message that only entries wait for was leased")
	}
}

func entriesNotDue(t *testing.T, s outboxSpool) {
	later := time.Now().Add(time.Hour)
	fail(t, s, later)
	if c, next := claimOf(t, s, dueNow(10)); len(c) != 0 || !next.Equal(later) {
		t.Errorf("claimed %+v, next %v; want none until %v", c, next, later)
	}
	q := dueNow(10)
	q.Now = later
	if c, _ := claimOf(t, s, q); len(c) != 1 {
		t.Errorf("at its time: %+v", c)
	}
}

// entryAgain: an entry that is recorded again replaces the earlier one.
func entryAgain(t *testing.T, s outboxSpool) {
	put(t, s, message(), "x")
	first := relay.Entry{Topic: relay.TopicReport, Key: "failed/0", Due: time.Now().Add(time.Hour)}
	l := leaseOne(t, s)
	settle(t, s, l, first)
	again := first
	again.Due, again.Payload = time.Now(), []byte("\x00second")
	settle(t, s, leaseOne(t, s), again)
	c := claimOne(t, s)
	if len(c.Entries) != 1 || string(c.Entries[0].Payload) != "\x00second" ||
		c.Entries[0].Message != l.Message.ID {
		t.Errorf("entries %+v, want the second one", c.Entries)
	}
}

func claimMax(t *testing.T, s outboxSpool) {
	now := time.Now()
	fail(t, s, now.Add(-time.Second), "a@x.example", "b@x.example")
	last := fail(t, s, now)
	c, next := claimOf(t, s, dueNow(1))
	if len(c) != 1 || len(c[0].Entries) != 2 || next.IsZero() || next.After(time.Now()) {
		t.Fatalf("claimed %+v, next %v; want the older message whole, and more due", c, next)
	}
	c, next = claimOf(t, s, dueNow(1))
	if len(c) != 1 || c[0].Message.ID != last.ID || !next.IsZero() {
		t.Errorf("then %+v, next %v; want the other one, and no more", c, next)
	}
}

func claimOnce(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now(), "a@x.example", "b@x.example")
	first := claimOne(t, s)
	if c, next := claimOf(t, s, dueNow(10)); len(c) != 0 || !next.IsZero() {
		t.Errorf("a second consumer got %+v, next %v", c, next)
	}
	consume(t, s, first.Entries[:1], nil)
	if c := claim(t, s, 10); len(c) != 0 {
		t.Error("a claim ended while some of its entries are left")
	}
	consume(t, s, first.Entries[1:], nil)
	if c := claim(t, s, 10); len(c) != 0 {
		t.Errorf("still owed: %+v", c)
	}
}

func claimLapses(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	q := dueNow(10)
	q.For = 50 * time.Millisecond
	old, _ := claimOf(t, s, q)
	var again []relay.Claim
	for end := time.Now().Add(10 * time.Second); len(again) == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		again = claim(t, s, 10)
	}
	if len(old) != 1 || len(again) != 1 {
		t.Fatal("the entries of a claim that lapsed were not handed out again")
	}
	if err := s.Consume(t.Context(), relay.Answer{Entries: old[0].Entries}); !errors.Is(err,
		relay.ErrStaleLease) {
		t.Errorf("Consume by the claim that lapsed: %v", err)
	}
	if err := s.Postpone(t.Context(), old[0].Entries); !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Postpone by the claim that lapsed: %v", err)
	}
	consume(t, s, again[0].Entries, nil)
}

func giveBack(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	first := claimOne(t, s)
	s.GiveBack(first.Token, "no-such-token")
	s.GiveBack(first.Token)
	second := claimOne(t, s)
	consume(t, s, second.Entries, nil)
}

// topics: the consumers of two topics do not get in each other's way, and the message stays for both.
func topics(t *testing.T, s outboxSpool) {
	put(t, s, message(), "x")
	l := leaseOne(t, s)
	all(l.Message, relay.Failed, time.Time{})
	other := relay.Entry{Topic: "other", Key: "failed/0", Due: time.Now(), Payload: []byte("call")}
	settle(t, s, l, relay.Notice{Kind: relay.NoticeFailed, Due: time.Now()}.Entry(), other)
	c := claimOne(t, s)
	if len(c.Entries) != 1 || c.Entries[0].Topic != relay.TopicReport {
		t.Fatalf("entries %+v, want the topic's own", c.Entries)
	}
	q := dueNow(10)
	q.Topic = "other"
	d, _ := claimOf(t, s, q)
	if len(d) != 1 || len(d[0].Entries) != 1 || string(d[0].Entries[0].Payload) != "call" {
		t.Fatalf("the other topic has %+v", d)
	}
	consume(t, s, c.Entries, nil)
	if got := read(t, s, l.Message.ID); got != "x" {
		t.Errorf("with one topic answered the content is %q", got)
	}
	consume(t, s, d[0].Entries, nil)
	if _, err := s.Content(t.Context(), l.Message.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("with both answered the message is there: %v", err)
	}
}

func consumeStores(t *testing.T, s outboxSpool) {
	m := fail(t, s, time.Now())
	dsn := message("app@sender.example")
	dsn.Report = true
	consume(t, s, claimOne(t, s).Entries, dsn)
	if c, next := claimOf(t, s, dueNow(10)); len(c) != 0 || !next.IsZero() {
		t.Errorf("still owed: %+v, next %v", c, next)
	}
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message was not removed with its entry: %v", err)
	}
	l := leaseOne(t, s)
	if l.Message.ID != dsn.ID || !l.Message.Report || read(t, s, dsn.ID) != "the report" {
		t.Errorf("leased %+v, want the report", l.Message)
	}
}

func consumeOnce(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	c := claimOne(t, s)
	dsn := message("app@sender.example")
	dsn.Report = true
	consume(t, s, c.Entries, dsn)
	consume(t, s, c.Entries, dsn)
	l := leaseOne(t, s)
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, s, l)
	consume(t, s, c.Entries, dsn)
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a report that has gone was stored again")
	}
}

func consumeOverSeveral(t *testing.T, s outboxSpool) {
	gone := fail(t, s, time.Now())
	put(t, s, message("fails@x.example", "waits@x.example"), "half")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Failed
	l.Message.Recipients[1].State = relay.Deferred
	l.Message.Recipients[1].NextAttempt = time.Now().Add(time.Hour)
	settle(t, s, l, relay.Notice{Kind: relay.NoticeFailed, Due: time.Now()}.Entry())
	var entries []relay.Entry
	for _, c := range claim(t, s, 10) {
		entries = append(entries, c.Entries...)
	}
	if len(entries) != 2 {
		t.Fatalf("%d entries are due, want 2", len(entries))
	}
	consume(t, s, entries, nil)
	if _, err := s.Content(t.Context(), gone.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message that nothing waits for is there: %v", err)
	}
	if got := read(t, s, l.Message.ID); got != "half" {
		t.Errorf("the message that a recipient waits for has the content %q", got)
	}
}

// consumeStale: an answer that comes when another consumer has the entry changes nothing.
func consumeStale(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	old := claimOne(t, s)
	s.GiveBack(old.Token)
	now := claimOne(t, s)
	dsn := message("app@sender.example")
	dsn.Report = true
	err := s.Consume(t.Context(), relay.Answer{
		Entries: old.Entries, Messages: []*relay.Message{dsn}, Content: strings.NewReader("late"),
	})
	if !errors.Is(err, relay.ErrStaleLease) {
		t.Errorf("Consume: %v, want ErrStaleLease", err)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("the late report was stored")
	}
	consume(t, s, now.Entries, dsn)
}

func postpone(t *testing.T, s outboxSpool) {
	fail(t, s, time.Now())
	c := claimOne(t, s)
	later := time.Now().Add(time.Hour)
	e := c.Entries[0]
	e.Due, e.Payload = later, []byte("digest")
	gone := e
	gone.Key = "failed/5"
	if err := s.Postpone(t.Context(), []relay.Entry{e, gone}); err != nil {
		t.Fatal(err)
	}
	s.GiveBack(c.Token)
	if c, next := claimOf(t, s, dueNow(10)); len(c) != 0 || !next.Equal(later) {
		t.Errorf("claimed %+v, next %v; want none until %v", c, next, later)
	}
	q := dueNow(10)
	q.Now = later
	d, _ := claimOf(t, s, q)
	if len(d) != 1 || len(d[0].Entries) != 1 || string(d[0].Entries[0].Payload) != "digest" {
		t.Errorf("at the later time: %+v; want the one entry", d)
	}
}
