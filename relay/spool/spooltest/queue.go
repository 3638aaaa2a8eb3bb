package spooltest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// queueSpool is a spool that can be looked into and changed.
type queueSpool interface {
	relay.Spool
	relay.Lister
	relay.Editor
}

// queueTests are those of the Lister and the Editor.
var queueTests = []test[queueSpool]{
	{"List", listing},
	{"ListMail", listMail},
	{"Stat", stat},
	{"EditState", editState},
	{"EditDrop", editDrop},
	{"EditWaits", editWaits},
	{"EditMoves", editMoves},
	{"Reroute", reroute},
	{"CopiesOut", copiesOut},
	{"EditOwes", editOwes},
	{"DropIsKnown", dropIsKnown},
	{"BytesOnce", bytesOnce},
	{"RerouteLeased", rerouteLeased},
}

// ids lists what a filter selects.
func ids(t *testing.T, s relay.Lister, f relay.QueueFilter) (list []string) {
	t.Helper()
	err := s.List(t.Context(), f, func(m *relay.Message) bool {
		list = append(list, m.ID)
		return true
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return list
}

func listing(t *testing.T, s queueSpool) {
	base := time.Now().Add(-time.Hour)
	var ms []*relay.Message
	for i := range 4 {
		m := message("user@there.example")
		m.Arrived = base.Add(time.Duration(i) * time.Minute)
		m.ID = relay.NewID(m.Arrived)
		ms = append(ms, m)
	}
	ms[0].Lane = "other"
	ms[1].Envelope.From = "Other@Elsewhere.example"
	ms[2].Recipients[0].Address = "x@UP.example"
	ms[2].Recipients[0].State = relay.Held
	ms[3].Recipients[0].Diagnosis = &diagnose.Diagnosis{Category: diagnose.MailboxFull}
	for _, i := range []int{2, 0, 3, 1} {
		put(t, s, ms[i], "x")
	}
	for _, tc := range []struct {
		name string
		f    relay.QueueFilter
		want []int
	}{
		{"all", relay.QueueFilter{}, []int{0, 1, 2, 3}},
		{"ids", relay.QueueFilter{IDs: []string{ms[3].ID, ms[1].ID, "nothing", ms[1].ID}}, []int{1, 3}},
		{"sender", relay.QueueFilter{Sender: "other@elsewhere.example"}, []int{1}},
		{"sender's domain", relay.QueueFilter{Sender: "@SENDER.example"}, []int{0, 2, 3}},
		{"recipient", relay.QueueFilter{Recipient: "X@up.example"}, []int{2}},
		{"recipient's domain", relay.QueueFilter{Recipient: "@there.example"}, []int{0, 1, 3}},
		{"category", relay.QueueFilter{Category: "mailbox full"}, []int{3}},
		{"state", relay.QueueFilter{State: relay.Held}, []int{2}},
		{"age", relay.QueueFilter{OlderThan: ms[2].Arrived}, []int{0, 1}},
		{"after", relay.QueueFilter{After: ms[1].ID}, []int{2, 3}},
		{"ids after", relay.QueueFilter{IDs: []string{ms[0].ID, ms[2].ID}, After: ms[0].ID}, []int{2}},
		{"limit", relay.QueueFilter{Limit: 2}, []int{0, 1}},
		{"two at once", relay.QueueFilter{Sender: "@sender.example", State: relay.Held}, []int{2}},
		{"lane", relay.QueueFilter{Lane: "other"}, []int{0}},
		{"another lane", relay.QueueFilter{Lane: ms[1].Lane, Limit: 2}, []int{1, 2}},
		{"waiting", relay.QueueFilter{Waiting: true}, []int{0, 1, 3}},
		{"waiting in a lane after one", relay.QueueFilter{Lane: ms[1].Lane, Waiting: true, After: ms[1].ID},
			[]int{3}},
		{"old and waiting in a lane",
			relay.QueueFilter{Lane: ms[1].Lane, Waiting: true, OlderThan: ms[3].Arrived},
			[]int{1}},
		{"ids in a lane", relay.QueueFilter{Lane: "other", IDs: []string{ms[0].ID, ms[1].ID}}, []int{0}},
		{"an unknown lane", relay.QueueFilter{Lane: "nowhere"}, nil},
		{"none", relay.QueueFilter{Sender: "@nowhere.example"}, nil},
	} {
		var want []string
		for _, i := range tc.want {
			want = append(want, ms[i].ID)
		}
		if got := ids(t, s, tc.f); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tc.name, got, want)
		}
	}
	n := 0
	if err := s.List(t.Context(), relay.QueueFilter{},
		func(*relay.Message) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("List went on for %d messages after it was told to stop at 2: %v", n, err)
	}
}

// listMail: the id of a mail selects all of its messages.
func listMail(t *testing.T, s queueSpool) {
	a, b := parts()
	putParts(t, s, "x", a, b)
	put(t, s, message(), "y")
	want := []string{a.ID, b.ID}
	slices.Sort(want)
	if got := ids(t, s, relay.QueueFilter{IDs: []string{a.ID}}); !slices.Equal(got, want) {
		t.Errorf("the mail's id selects %v, want %v", got, want)
	}
	if got := ids(t, s, relay.QueueFilter{IDs: []string{b.ID}}); !slices.Equal(got, []string{b.ID}) {
		t.Errorf("a message's id selects %v, want that one", got)
	}
}

func stat(t *testing.T, s queueSpool) {
	first := message()
	put(t, s, first, "12345")
	put(t, s, message(), "123")
	leaseUntil(t, s, 1, time.Minute)
	st, err := s.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	oldest := st.Oldest.Sub(first.Arrived).Abs() < time.Millisecond // ids tell no finer
	if st.Messages != 2 || st.Bytes != 8 || st.Leased != 1 || st.Owed != 0 || !oldest {
		t.Errorf("Stat gives %+v", st)
	}
}

func editState(t *testing.T, s queueSpool) {
	m := message()
	put(t, s, m, "x")
	hold := func(m *relay.Message) (relay.Settlement, bool, error) {
		all(m, relay.Held, time.Time{})
		return relay.Settlement{Recipients: m.Recipients}, false, nil
	}
	if err := s.Edit(t.Context(), m.ID, hold); err != nil {
		t.Fatal(err)
	}
	if ls := lease(t, s, 1); len(ls) != 0 {
		t.Error("a held message was leased")
	}
	mine := errors.New("not so")
	err := s.Edit(t.Context(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
		return relay.Settlement{}, true, mine
	})
	if !errors.Is(err, mine) {
		t.Errorf("Edit returned %v, want the caller's error", err)
	}
	release := func(m *relay.Message) (relay.Settlement, bool, error) {
		all(m, relay.Queued, time.Now())
		return relay.Settlement{Recipients: m.Recipients}, false, nil
	}
	if err := s.Edit(t.Context(), m.ID, release); err != nil {
		t.Fatal(err)
	}
	leaseOne(t, s)
	if err := s.Edit(t.Context(), relay.NewID(time.Now()), release); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("Edit of a message that is not there: %v", err)
	}
}

func editDrop(t *testing.T, s queueSpool) {
	m := message()
	put(t, s, m, "x")
	drop := func(*relay.Message) (relay.Settlement, bool, error) { return relay.Settlement{}, true, nil }
	if err := s.Edit(t.Context(), m.ID, drop); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, s, relay.QueueFilter{}); len(got) != 0 {
		t.Errorf("a dropped message is listed: %v", got)
	}
}

func editWaits(t *testing.T, s queueSpool) {
	m := message()
	put(t, s, m, "x")
	l := leaseOne(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	never := func(*relay.Message) (relay.Settlement, bool, error) {
		t.Error("a leased message was edited")
		return relay.Settlement{}, false, nil
	}
	if err := s.Edit(ctx, m.ID, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Edit of a leased message: %v, want that the context ended", err)
	}
	edited := make(chan error, 1)
	go func() {
		edited <- s.Edit(t.Context(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
			if m.Recipients[0].Attempts != 1 {
				t.Error("Edit saw the message as it was before the settlement")
			}
			return relay.Settlement{}, true, nil
		})
	}()
	l.Message.Recipients[0].Attempts = 1
	all(l.Message, relay.Deferred, time.Now().Add(time.Hour))
	settle(t, s, l)
	if err := <-edited; err != nil {
		t.Error(err)
	}
}

func editMoves(t *testing.T, s queueSpool) {
	m := message()
	m.Lane = "elsewhere"
	put(t, s, m, "x")
	err := s.Edit(t.Context(), m.ID, func(m *relay.Message) (relay.Settlement, bool, error) {
		return relay.Settlement{Recipients: m.Recipients, Lane: lane}, false, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if l := leaseOne(t, s); l.Message.ID != m.ID || l.Message.Lane != lane {
		t.Errorf("leased %s of lane %q", l.Message.ID, l.Message.Lane)
	}
}

func reroute(t *testing.T, s queueSpool) {
	for _, l := range []string{"gone", lane, "gone", "also gone", "kept"} {
		m := message()
		m.Lane = l
		put(t, s, m, "x")
	}
	n, err := s.Reroute(t.Context(), []string{"kept", lane}, lane)
	if err != nil || n != 3 {
		t.Errorf("Reroute moved %d, %v; want 3", n, err)
	}
	ls := lease(t, s, 10)
	if len(ls) != 4 {
		t.Errorf("%d messages in the lane, want 4", len(ls))
	}
	for _, l := range ls {
		if l.Message.Lane != lane {
			t.Errorf("a message of the lane says that it is of %q", l.Message.Lane)
		}
	}
	if _, err := s.(relay.Spool).Content(t.Context(), ls[0].Message.ID); err != nil {
		t.Error(err)
	}
	put(t, s, func() *relay.Message { m := message(); m.Lane = "unknown"; return m }(), "x")
	if n, err := s.Reroute(t.Context(), nil, lane); err != nil || n != 2 {
		t.Errorf("the second Reroute moved %d, %v; want 2", n, err)
	}
}
