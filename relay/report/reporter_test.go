package report_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/dsn"
)

func TestReportsTogether(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := newWorld(t, s, 1)
		id := w.accept("app@example.com", relay.Recipient{Address: "a@x"}, relay.Recipient{Address: "b@x"},
			relay.Recipient{Address: "c@x"})
		w.settle(func(_ *relay.Message, r *relay.Recipient) {
			r.State, r.Last = relay.Failed, w.attempted("550 no\r\n")
			if r.Address == "c@x" {
				r.State, r.NextAttempt = relay.Deferred, w.now.Add(2*time.Second)
			}
		})
		w.round(2 * time.Second)
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports before the time to collect is over", n)
		}
		w.fail("user_unknown")
		w.round(3 * time.Second)
		got := w.reports()
		if len(got) != 1 || !slices.Equal(got[0].Recipients, []string{"a@x", "b@x", "c@x"}) ||
			got[0].Message != id ||
			got[0].To != "app@example.com" {
			t.Fatalf("%+v", got)
		}
		w.checkReport(id)
	})
}

// checkReport looks at the report as a message, and at the events (RFC 3461, 6.1).
func (w *world) checkReport(id string) {
	w.t.Helper()
	m := w.stored()[0]
	r := m.Recipients[0]
	if !m.Report || m.Envelope.From != "" || m.Envelope.Ret != "" || r.Notify != relay.NotifyNever ||
		r.Address != "app@example.com" ||
		m.Lane != "default" {
		w.t.Errorf("the report: %+v", m)
	}
	var about, of int
	for _, e := range w.events {
		switch {
		case e.Kind == relay.EventDSN && e.ID == id && e.DSN == m.ID:
			about++
		case e.Kind == relay.EventDSN && e.ID == m.ID && e.DSN == id:
			of++
		}
	}
	if about != 3 || of != 1 || len(w.events) != 4 {
		w.t.Errorf("events: %+v", w.events)
	}
}

// readAhead notices when the due notices are claimed a second time.
type readAhead struct {
	store
	reads  int
	second chan struct{}
}

func (s *readAhead) Claim(ctx context.Context, q relay.ClaimQuery) ([]relay.Claim, time.Time, error) {
	if s.reads++; s.reads == 2 {
		defer close(s.second)
	}
	return s.store.Claim(ctx, q)
}

// TestReadsAhead holds that the next notices are read while a batch of reports is being made, and that each
// is reported once.
func TestReadsAhead(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := newWorld(t, s, 1)
		ahead := &readAhead{store: s, second: make(chan struct{})}
		w.o.Composer = jsonComposer{fail: func() error {
			select {
			case <-ahead.second:
				return nil
			case <-time.After(time.Minute):
				return errors.New("the next notices are not read")
			}
		}}
		want := map[string]bool{}
		for range 600 {
			want[w.accept("app@example.com", relay.Recipient{Address: "a@x"})] = true
		}
		w.fail("user_unknown")
		w.store = ahead
		w.round(6 * time.Second)
		w.store = s
		for _, r := range w.reports() {
			if !want[r.Message] {
				t.Errorf("%s is reported twice", r.Message)
			}
			delete(want, r.Message)
		}
		if len(want) > 0 {
			t.Errorf("%d failures are not reported in one round", len(want))
		}
	})
}

// TestDelay: no report of a delay while the lane is paused, nor when the mail went out meanwhile.
func TestDelay(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := newWorld(t, s, 1)
		paused := true
		w.o.Paused = func(string) bool { return paused }
		w.o.Expires = func(m *relay.Message) time.Time { return m.Arrived.Add(5 * 24 * time.Hour) }
		w.accept("app@example.com", relay.Recipient{Address: "slow@x"}, relay.Recipient{Address: "gone@x"})
		later := func(_ *relay.Message, r *relay.Recipient) {
			r.State, r.Last = relay.Deferred, w.attempted("451 later\r\n")
			r.NextAttempt = w.now.Add(time.Hour)
		}
		w.settle(later)
		w.round(time.Hour)
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports after an hour", n)
		}
		w.now = w.now.Add(4 * time.Hour)
		w.settle(later)
		for range 5 {
			w.round(6 * time.Minute)
		}
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports while the lane is paused", n)
		}
		w.round(time.Hour)
		w.settle(func(m *relay.Message, r *relay.Recipient) {
			if r.Address == "gone@x" {
				r.State, r.Last = relay.Relayed, w.attempted("250 ok\r\n")
				return
			}
			later(m, r)
		})
		paused = false
		w.round(time.Minute)
		w.round(2 * time.Minute)
		got := w.reports()
		if len(got) != 1 || got[0].Kind != relay.NoticeDelayed ||
			!slices.Equal(got[0].Recipients, []string{"slow@x"}) {
			t.Fatalf("%+v", got)
		}
		delayed := func(e relay.Event) bool { return e.Kind == relay.EventDelayed }
		if i := slices.IndexFunc(w.events, delayed); i < 0 || w.events[i].To != "slow@x" {
			t.Errorf("events: %+v", w.events)
		}
		w.now = w.now.Add(24 * time.Hour)
		w.settle(later)
		w.round(time.Minute)
		if n := len(w.reports()); n != 1 {
			t.Errorf("%d reports: one delay notice is enough", n)
		}
	})
}

// TestRequeued: an operator who puts a failed recipient back before its report went out withdraws the report;
// one who does it later gets another one for the second failure.
func TestRequeued(t *testing.T) {
	requeue := func(w *world, id string) {
		f := w.store.(*fakeStore)
		f.messages[id].Recipients[0].State, f.messages[id].Recipients[0].NextAttempt = relay.Queued, w.now
	}
	w := newWorld(t, newFakeStore(), 1)
	id := w.accept("app@example.com", relay.Recipient{Address: "a@x"}, relay.Recipient{Address: "waits@x"})
	once := func() {
		w.settle(func(_ *relay.Message, r *relay.Recipient) {
			r.State, r.Last = relay.Failed, w.attempted("550 no\r\n")
			if r.Address == "waits@x" {
				r.State, r.NextAttempt = relay.Deferred, w.now.Add(1000*time.Hour)
			}
		})
	}
	once()
	requeue(w, id)
	w.round(6 * time.Second)
	if n := len(w.reports()); n != 0 {
		t.Fatalf("%d reports on a recipient that waits again", n)
	}
	once()
	w.round(6 * time.Second)
	requeue(w, id)
	once()
	w.round(6 * time.Second)
	if n := len(w.reports()); n != 2 {
		t.Errorf("%d reports on two failures", n)
	}
}

// TestManyRecipients: one report covers up to a thousand recipients who failed alike, and of a hundred who
// did not.
func TestManyRecipients(t *testing.T) {
	for _, tt := range []struct {
		recipients int
		alike      bool
		want       []int // recipients of each report
	}{
		{1000, true, []int{1000}}, {2500, true, []int{1000, 1000, 500}}, {250, false, []int{100, 100, 50}},
	} {
		w := newWorld(t, newFakeStore(), 1)
		var rs []relay.Recipient
		for i := range tt.recipients {
			rs = append(rs, relay.Recipient{Address: fmt.Sprintf("r%d@x", i)})
		}
		w.accept("app@example.com", rs...)
		failed := 0
		w.settle(func(_ *relay.Message, r *relay.Recipient) {
			reply := "550 5.1.1 User unknown\r\n"
			if failed++; !tt.alike {
				reply = "550 5.1.1 No such user" + strings.Repeat(" here", failed) + "\r\n"
			}
			r.State, r.Last = relay.Failed, w.attempted(reply)
		})
		w.round(6 * time.Second)
		var got []int
		for _, x := range w.reports() {
			got = append(got, len(x.Recipients))
		}
		slices.Sort(got)
		slices.Reverse(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d recipients, alike %v: reports on %v", tt.recipients, tt.alike, got)
		}
	}
}

// TestRun: Run waits for what is due, looks when it is kicked, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStore(), 1)
		w.o.Now = time.Now
		w.now = time.Now()
		w.restart()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { w.rep.Run(ctx); close(done) }()
		synctest.Wait()
		w.accept("app@example.com", relay.Recipient{Address: "a@x"})
		w.fail("user_unknown")
		w.rep.Kick()
		w.rep.Kick()
		time.Sleep(4900 * time.Millisecond)
		synctest.Wait()
		if n := len(w.reports()); n != 0 {
			t.Errorf("%d reports too early", n)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if n := len(w.reports()); n != 1 {
			t.Errorf("%d reports when they are due", n)
		}
		cancel()
		<-done
	})
}

// TestStoreFails: while reports cannot be stored the notices wait, and the others do not wait for them.
func TestStoreFails(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	broken := true
	w.o.Composer = jsonComposer{fail: func() error {
		if broken {
			return errors.New("cannot compose")
		}
		return nil
	}}
	w.accept("app@example.com", relay.Recipient{Address: "a@x"})
	w.fail("user_unknown")
	for range 3 {
		w.round(time.Minute)
	}
	if len(w.reports()) != 0 || len(w.store.(*fakeStore).entries) != 1 {
		t.Fatal("a notice is lost or reported")
	}
	broken = false
	w.round(2 * time.Minute)
	if len(w.reports()) != 1 {
		t.Error("the notice is not reported when it can be")
	}
}

// TestRealComposer joins reporter, composer and engine as serve does.
func TestRealComposer(t *testing.T) {
	w := newWorld(t, sqlite(t), 1)
	c, err := dsn.New(dsn.Options{
		Hostname: "relay.example.com", From: "postmaster@relay.example.com", Key: []byte("k"),
		ReturnLimit: 50_000,
		Log:         w.o.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.o.Composer = c
	w.accept("app@example.com",
		relay.Recipient{Address: "a@x", Notify: relay.NotifySuccess | relay.NotifyFailure})
	w.fail("user_unknown")
	w.round(6 * time.Second)
	ms := w.stored()
	if len(ms) != 1 || ms[0].MessageID != dsn.MessageID([]byte("k"), ms[0].ID, "relay.example.com") {
		t.Fatalf("%+v", ms)
	}
	rc, err := w.store.Content(context.Background(), ms[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil || !strings.Contains(string(b), "X-Mailwhy-Reason: user_unknown\r\n") ||
		int64(len(b)) != ms[0].Size {
		t.Errorf("%v\n%s", err, b)
	}
}
