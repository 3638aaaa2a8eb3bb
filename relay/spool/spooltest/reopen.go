package spooltest

import (
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// reopen: what was put, settled and owed is there when the store is opened again.
func reopen(t *testing.T, st Store) {
	s := st.open(t)
	waits, owes := message("waits@there.example"), (*relay.Message)(nil)
	if o, ok := s.(outboxSpool); ok {
		owes = fail(t, o, time.Now())
	}
	put(t, s, waits, "content")
	gone := message("gone@there.example")
	gone.Lane = backup
	put(t, s, gone, "gone")
	relayAll(t, s, backup)
	a, b := parts()
	a.Lane = "third"
	putParts(t, s, strings.Repeat("large\r\n", 1<<16), a, b)
	leased := message()
	leased.Lane = "leased"
	put(t, s, leased, "x")
	underLease := relay.LeaseQuery{Lane: leased.Lane, Now: time.Now(), Max: 1, For: time.Hour}
	leaseOf(t, s, underLease)
	closeSpool(t, s)

	s = st.open(t)
	if ls, _ := leaseOf(t, s, underLease); len(ls) != 1 && !st.Shared {
		t.Error("a lease outlived the engine that gave it")
	}
	l := leaseOne(t, s)
	equal(t, l.Message, waits)
	if got := read(t, s, waits.ID); got != "content" {
		t.Errorf("the content came back as %q", got)
	}
	if ls, _ := leaseOf(t, s, relay.LeaseQuery{Lane: backup, Now: time.Now(), Max: 10,
		For: time.Minute}); len(ls) != 1 ||
		ls[0].Message.ID != b.ID {
		t.Errorf("%d messages in the second lane, want the part", len(ls))
	}
	relayAll(t, s, "third")
	if got := read(t, s, b.ID); len(got) != 7<<16 {
		t.Errorf("a part has a content of %d bytes", len(got))
	}
	if o, ok := s.(outboxSpool); ok {
		if c := claim(t, o, 10); len(c) != 1 || c[0].Message.ID != owes.ID {
			t.Errorf("claimed %+v, want what was owed", c)
		}
	}
}

// twoHandles: of an engine that can be shared, two that have the store open never lease the same message or
// claim the same entries, and each sees what the other does. One that cannot be shared says so.
func twoHandles(t *testing.T, st Store) {
	one := st.open(t)
	if !st.Shared {
		if s, err := st.Open(); err == nil {
			closeSpool(t, s)
			t.Error("the store was opened twice by an engine that cannot be shared")
		}
		return
	}
	two := st.open(t)
	put(t, one, message(), "x")
	l := leaseOne(t, two)
	if ls := lease(t, one, 10); len(ls) != 0 {
		t.Error("a message is leased twice")
	}
	if got := read(t, one, l.Message.ID); got != "x" {
		t.Errorf("its content is %q", got)
	}
	all(l.Message, relay.Failed, time.Time{})
	n := relay.Notice{Message: l.Message.ID, Kind: relay.NoticeFailed, Due: time.Now()}
	settle(t, two, l, n.Entry())
	a, okA := one.(outboxSpool)
	b, okB := two.(outboxSpool)
	if !okA || !okB {
		return
	}
	if c := claim(t, a, 10); len(c) != 1 {
		t.Fatalf("%d messages were claimed, want 1", len(c))
	}
	if c := claim(t, b, 10); len(c) != 0 {
		t.Error("an entry is claimed twice")
	}
}
