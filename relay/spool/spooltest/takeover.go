package spooltest

import (
	"errors"
	"testing"
	"time"

	"mailwhy/relay"
)

// givesBackUnasked: what a handle was given, and nobody asks it for, comes to the other.
func givesBackUnasked(t *testing.T, _ Store, one, two sharedSpool) {
	lease(t, one, 1)
	m := message()
	put(t, one, m, "x")
	l := leaseSoon(t, two)
	equal(t, l.Message, m)
	if got := read(t, two, m.ID); got != "x" {
		t.Errorf("its content is %q", got)
	}
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, two, l)
}

// givesBackAtClose: what a handle has leased is free when it is closed, as it was.
func givesBackAtClose(t *testing.T, st Store, one, two sharedSpool) {
	for range 2 {
		put(t, one, message(), "x")
		leaseSoon(t, one)
	}
	closeSpool(t, one)
	ls := lease(t, two, 10)
	if len(ls) != 2 {
		t.Fatalf("%d messages were leased, want 2", len(ls))
	}
	for _, l := range ls {
		all(l.Message, relay.Relayed, time.Time{})
		settle(t, two, l)
	}
}

// takenOver: the leases of a handle that has crashed end, whatever their deadlines; those that it handed
// out and those that it did not.
func takenOver(t *testing.T, st Store, one, two sharedSpool) {
	lease(t, one, 1)
	want := map[string]bool{}
	for range 2 {
		m := message()
		want[m.ID] = true
		put(t, one, m, m.ID)
	}
	leaseUntil(t, one, 1, time.Hour)
	st.Crash(one)
	eventually(t, "the other handle has all", func() bool {
		for _, l := range lease(t, two, 10) {
			if !want[l.Message.ID] {
				t.Errorf("%s is leased twice", l.Message.ID)
			}
			if got := read(t, two, l.Message.ID); got != l.Message.ID {
				t.Errorf("its content is %q", got)
			}
			delete(want, l.Message.ID)
			all(l.Message, relay.Relayed, time.Time{})
			settle(t, two, l)
		}
		return len(want) == 0
	})
}

// staleAfterTakeover: what a handle settles that was taken over changes nothing, before and after the new
// owner's settlement; and it can go on.
func staleAfterTakeover(t *testing.T, st Store, one, two sharedSpool) {
	m := message()
	put(t, one, m, "x")
	old := leaseSoon(t, one)
	st.Crash(one)
	now := leaseSoon(t, two)
	late := func() {
		all(old.Message, relay.Failed, time.Time{})
		owed := []relay.Entry{relay.Notice{Kind: relay.NoticeFailed, Due: time.Now()}.Entry()}
		set := relay.Settlement{Recipients: old.Message.Recipients, Owed: owed}
		if err := one.Settle(t.Context(), old.Token, set); !errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("Settle by the handle that was taken over: %v", err)
		}
	}
	late()
	now.Message.Recipients[0].Attempts = 7
	all(now.Message, relay.Deferred, time.Now())
	settle(t, two, now)
	late()
	l := leaseSoon(t, two)
	if l.Message.Recipients[0].Attempts != 7 {
		t.Errorf("the late settlement has changed %+v", l.Message.Recipients[0])
	}
	if c := claim(t, two, 10); len(c) != 0 {
		t.Errorf("the late settlement owes %+v", c)
	}
	put(t, one, message(), "y")
}

// answeredOnceAfterTakeover: the claims of a handle that has crashed go to the other one, and what it answers
// afterwards is refused.
func answeredOnceAfterTakeover(t *testing.T, st Store, one, two sharedSpool) {
	fail(t, one, time.Now())
	q := dueNow(10)
	q.For = time.Hour
	late, _ := claimOf(t, one, q)
	st.Crash(one)
	var now []relay.Claim
	eventually(t, "the other handle has the claim", func() bool {
		now = claim(t, two, 10)
		return len(now) == 1
	})
	b, _ := reportsOn(late[0].Entries)
	if err := one.Consume(t.Context(), b); err == nil {
		t.Error("the handle that was taken over has answered")
	}
	a, id := reportsOn(now[0].Entries)
	if err := two.Consume(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	onlyReport(t, two, id)
}
