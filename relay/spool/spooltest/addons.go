package spooltest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// noticeSpool is a spool with the reporter's add-on.
type noticeSpool interface {
	relay.Spool
	relay.NoticeSpool
}

// queueSpool is a spool that can be looked into and changed.
type queueSpool interface {
	relay.Spool
	relay.Lister
	relay.Editor
}

// runNotices tests the NoticeSpool, if the engine is one.
func runNotices(t *testing.T, open func(t *testing.T) relay.Spool) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, noticeSpool)
	}{
		{"NoticesKeepMessage", noticesKeepMessage},
		{"NoticesNotDue", noticesNotDue},
		{"NoticesMax", noticesMax},
		{"ReportConsumes", reportConsumes},
		{"ReportOnce", reportOnce},
		{"ReportOverSeveral", reportOverSeveral},
		{"Postpone", postpone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if s, ok := open(t).(noticeSpool); ok {
				tc.test(t, s)
			} else {
				t.Skip("skipping: this engine keeps no notices")
			}
		})
	}
}

// fail stores a message and settles it as failed for all recipients, with a notice for each that is due at
// due.
func fail(t *testing.T, s relay.Spool, due time.Time, recipients ...string) *relay.Message {
	t.Helper()
	put(t, s, message(recipients...), "original")
	l := leaseOne(t, s)
	all(l.Message, relay.Failed, time.Time{})
	var notices []relay.Notice
	for i := range l.Message.Recipients {
		notices = append(notices,
			relay.Notice{Message: l.Message.ID, Recipient: i, Kind: relay.NoticeFailed, Due: due})
	}
	settle(t, s, l, notices...)
	return l.Message
}

// due returns the due notices.
func due(t *testing.T, s relay.NoticeSpool, max int) ([]relay.Notices, time.Time) {
	t.Helper()
	d, next, err := s.DueNotices(t.Context(), time.Now(), max, nil)
	if err != nil {
		t.Fatalf("DueNotices: %v", err)
	}
	return d, next
}

// report stores dsn and consumes notices.
func report(t *testing.T, s relay.NoticeSpool, notices []relay.Notice, dsn *relay.Message) {
	t.Helper()
	if err := s.Report(t.Context(), notices, dsn, strings.NewReader("the report")); err != nil {
		t.Fatalf("Report: %v", err)
	}
}

func noticesKeepMessage(t *testing.T, s noticeSpool) {
	m := fail(t, s, time.Now(), "a@there.example", "b@there.example")
	d, next := due(t, s, 10)
	if len(d) != 1 || len(d[0].Notices) != 2 || !next.IsZero() {
		t.Fatalf("due are %+v, next %v; want two notices of one message", d, next)
	}
	equal(t, d[0].Message, m)
	if n := d[0].Notices[1]; n.Message != m.ID || n.Recipient != 1 || n.Kind != relay.NoticeFailed {
		t.Errorf("notice %+v", n)
	}
	if got := read(t, s, m.ID); got != "original" {
		t.Errorf("the content of a message to be reported on is %q", got)
	}
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a message that only notices wait for was leased")
	}
}

func noticesNotDue(t *testing.T, s noticeSpool) {
	later := time.Now().Add(time.Hour)
	fail(t, s, later)
	if d, next := due(t, s, 10); len(d) != 0 || !next.Equal(later) {
		t.Errorf("due are %+v, next %v; want none until %v", d, next, later)
	}
	if d, _, err := s.DueNotices(t.Context(), later, 10, nil); err != nil || len(d) != 1 {
		t.Errorf("at its time: %+v, %v", d, err)
	}
}

func noticesMax(t *testing.T, s noticeSpool) {
	now := time.Now()
	fail(t, s, now.Add(-time.Second), "a@x.example", "b@x.example")
	last := fail(t, s, now)
	d, next := due(t, s, 1)
	if len(d) != 1 || len(d[0].Notices) != 2 || next.IsZero() || next.After(time.Now()) {
		t.Fatalf("due are %+v, next %v; want the older message whole, and more due", d, next)
	}
	first := d[0].Message.ID
	d, next, err := s.DueNotices(t.Context(), time.Now(), 1, func(id string) bool { return id == first })
	if err != nil || len(d) != 1 || d[0].Message.ID != last.ID || !next.IsZero() {
		t.Errorf("with the older message skipped: %+v, next %v, %v; want the other one, and no more", d, next,
			err)
	}
	d, _ = due(t, s, 1)
	report(t, s, d[0].Notices, nil)
	if d, _ := due(t, s, 1); len(d) != 1 || d[0].Message.ID != last.ID {
		t.Errorf("then due are %+v, want the other message", d)
	}
}

func reportConsumes(t *testing.T, s noticeSpool) {
	m := fail(t, s, time.Now())
	d, _ := due(t, s, 10)
	dsn := message("app@sender.example")
	dsn.Report = true
	report(t, s, d[0].Notices, dsn)
	if d, next := due(t, s, 10); len(d) != 0 || !next.IsZero() {
		t.Errorf("still due: %+v, next %v", d, next)
	}
	if _, err := s.Content(t.Context(), m.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message was not removed with its notice: %v", err)
	}
	l := leaseOne(t, s)
	if l.Message.ID != dsn.ID || !l.Message.Report || read(t, s, dsn.ID) != "the report" {
		t.Errorf("leased %+v, want the report", l.Message)
	}
}

func reportOnce(t *testing.T, s noticeSpool) {
	fail(t, s, time.Now())
	d, _ := due(t, s, 10)
	dsn := message("app@sender.example")
	dsn.Report = true
	report(t, s, d[0].Notices, dsn)
	report(t, s, d[0].Notices, dsn)
	l := leaseOne(t, s)
	all(l.Message, relay.Relayed, time.Time{})
	settle(t, s, l)
	report(t, s, d[0].Notices, dsn)
	if ls := lease(t, s, 10); len(ls) != 0 {
		t.Error("a report that has gone was stored again")
	}
}

func reportOverSeveral(t *testing.T, s noticeSpool) {
	gone := fail(t, s, time.Now())
	put(t, s, message("fails@x.example", "waits@x.example"), "half")
	l := leaseOne(t, s)
	l.Message.Recipients[0].State = relay.Failed
	l.Message.Recipients[1].State = relay.Deferred
	l.Message.Recipients[1].NextAttempt = time.Now().Add(time.Hour)
	settle(t, s, l, relay.Notice{Message: l.Message.ID, Recipient: 0, Kind: relay.NoticeFailed,
		Due: time.Now()})
	d, _ := due(t, s, 10)
	var consumed []relay.Notice
	for _, n := range d {
		consumed = append(consumed, n.Notices...)
	}
	if len(consumed) != 2 {
		t.Fatalf("%d notices are due, want 2", len(consumed))
	}
	report(t, s, consumed, nil)
	if _, err := s.Content(t.Context(), gone.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("the message that nothing waits for is there: %v", err)
	}
	if got := read(t, s, l.Message.ID); got != "half" {
		t.Errorf("the message that a recipient waits for has the content %q", got)
	}
}

func postpone(t *testing.T, s noticeSpool) {
	fail(t, s, time.Now())
	d, _ := due(t, s, 10)
	later := time.Now().Add(time.Hour)
	n := d[0].Notices[0]
	n.Due, n.Digest = later, true
	gone := n
	gone.Recipient = 5
	if err := s.Postpone(t.Context(), []relay.Notice{n, gone}); err != nil {
		t.Fatal(err)
	}
	if d, next := due(t, s, 10); len(d) != 0 || !next.Equal(later) {
		t.Errorf("due are %+v, next %v; want none until %v", d, next, later)
	}
	d, _, err := s.DueNotices(t.Context(), later, 10, nil)
	if err != nil || len(d) != 1 || len(d[0].Notices) != 1 || !d[0].Notices[0].Digest {
		t.Errorf("at the later time: %+v, %v; want the notice for the digest", d, err)
	}
}

// runQueue tests the Lister, the Editor and the Releaser, if the engine is one.
func runQueue(t *testing.T, open func(t *testing.T) relay.Spool) {
	for _, tc := range []struct {
		name string
		test func(*testing.T, queueSpool)
	}{
		{"List", listing},
		{"Stat", stat},
		{"EditState", editState},
		{"EditDrop", editDrop},
		{"EditWaits", editWaits},
		{"Reroute", reroute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if s, ok := open(t).(queueSpool); ok {
				tc.test(t, s)
			} else {
				t.Skip("skipping: this engine cannot be listed and edited")
			}
		})
	}
	t.Run("Release", func(t *testing.T) {
		s := open(t)
		r, ok := s.(relay.Releaser)
		if !ok {
			t.Skip("skipping: this engine cannot end a lease without a write")
		}
		put(t, s, message(), "x")
		l := leaseOne(t, s)
		if err := r.Release(l.Token); err != nil {
			t.Fatal(err)
		}
		if err := r.Release(l.Token); !errors.Is(err, relay.ErrStaleLease) {
			t.Errorf("a second Release: %v", err)
		}
		equal(t, leaseOne(t, s).Message, l.Message)
	})
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
	if st.Messages != 2 || st.Bytes != 8 || st.Leased != 1 || st.Notices != 0 || !oldest ||
		st.FreeBytes <= 0 {
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
