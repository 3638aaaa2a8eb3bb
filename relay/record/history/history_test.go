package history

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/record/redact"
	"mailwhy/relay/smtptest"
)

// begun is when the tests begin: at the start of a slot.
func begun() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }

// open opens a history at path.
func open(tb testing.TB, path string, limits Limits, now func() time.Time) *History {
	tb.Helper()
	h := Open(Options{Path: path, Limits: func() Limits { return limits }, Now: now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	tb.Cleanup(func() { h.Close() })
	return h
}

// fresh opens an empty history.
func fresh(tb testing.TB, limits Limits) *History {
	tb.Helper()
	return open(tb, filepath.Join(tb.TempDir(), "history.db"), limits, begun)
}

// generous keeps all that a test records.
func generous() Limits { return Limits{Keep: 7 * 24 * time.Hour, MaxEvents: 100_000} }

// refused is an event of mail that was refused.
func refused(at time.Time, id, to, reply string) relay.Event {
	d := diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: "user_unknown",
		Cause: "There is no such mailbox.", Fix: []string{"Remove the address."},
		Owner: diagnose.OwnerApplication}
	return relay.Event{Time: at, Kind: relay.EventFailed, ID: id, From: "app@shop.example", To: to,
		Attempt: 1, Lane: "default", Diagnosis: &d, Delay: 1500 * time.Millisecond,
		Tried: &relay.Attempt{Stage: diagnose.StageRcpt, Host: "mx.example", Remote: "192.0.2.1:25",
			Reply: diagnose.ParseReply(reply), Duration: 20 * time.Millisecond, Upstream: "default"}}
}

// recorded records events and waits until they are all there.
func recorded(tb testing.TB, h *History, events ...relay.Event) {
	tb.Helper()
	before := h.State().Events
	for _, e := range events {
		h.Record(e)
	}
	smtptest.WaitFor(tb, "the events", func() bool {
		return h.State().Events == before+int64(len(events))
	})
}

func TestTimeline(t *testing.T) {
	h, at := fresh(t, generous()), begun()
	reply := "550-5.1.1 <jane@example.net> \xff is\r\n550 5.1.1 unknown\r\n"
	accepted := relay.Event{Time: at, Kind: relay.EventAccepted, ID: "A", To: "jane@example.net", Size: 77}
	part := relay.Event{Time: at, Kind: relay.EventAccepted, ID: "B", Mail: "A", To: "bob@example.net"}
	other := relay.Event{Time: at, Kind: relay.EventAccepted, ID: "C", To: "eve@example.net"}
	lane := relay.Event{Time: at, Kind: relay.EventLane, Lane: "default", State: "paused"}
	recorded(t, h, accepted, part, other, lane, refused(at.Add(time.Second), "A", "Jane@Example.net", reply))
	list, err := h.Timeline(t.Context(), "A")
	if err != nil || len(list) != 3 || list[0].Size != 77 || list[1].ID != "B" {
		t.Fatalf("%v, %+v", err, list)
	}
	e := list[2]
	if e.Tried == nil || e.Tried.Reply.Raw != reply || e.Tried.Host != "mx.example" ||
		e.Tried.Duration != 20*time.Millisecond || e.Delay != 1500*time.Millisecond ||
		e.Diagnosis.Cause != "There is no such mailbox." || !e.Time.Equal(at.Add(time.Second)) {
		t.Errorf("the refusal: %+v, %+v", e, e.Tried)
	}
	if list, err = h.Timeline(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("without an id: %v, %+v", err, list)
	}
	found, err := h.Latest(t.Context(), relay.HistoryFilter{Recipient: "JANE@example.net", Limit: 10})
	if err != nil || len(found) != 2 || found[0].Kind != relay.EventFailed {
		t.Errorf("by recipient: %v, %+v", err, found)
	}
	kinds := []relay.EventKind{relay.EventLane}
	found, err = h.Latest(t.Context(), relay.HistoryFilter{Kinds: kinds, Limit: 1})
	if err != nil || len(found) != 1 || found[0].State != "paused" {
		t.Errorf("of the lane: %v, %+v", err, found)
	}
	later, err := h.Latest(t.Context(), relay.HistoryFilter{After: found[0].Number, Limit: 10})
	if err != nil || len(later) != 1 {
		t.Errorf("after the lane's: %v, %+v", err, later)
	}
}

// TestFindRedacted: mail to an address is found, though only its hash is stored.
func TestFindRedacted(t *testing.T) {
	hash := redact.New(redact.Hash, []byte("a key"))
	h := Open(Options{Path: filepath.Join(t.TempDir(), "history.db"), Limits: generous, Now: begun,
		Log: slog.New(slog.DiscardHandler), Redact: hash.Event})
	t.Cleanup(func() { h.Close() })
	recorded(t, h, relay.Event{Time: begun(), Kind: relay.EventAccepted, ID: "A", To: "jane@example.net"},
		relay.Event{Time: begun(), Kind: relay.EventAccepted, ID: "B", To: "bob@example.net"})
	found, err := h.Latest(t.Context(), relay.HistoryFilter{Recipient: "Jane@example.net", Limit: 10})
	if err != nil || len(found) != 1 || found[0].ID != "A" || strings.Contains(found[0].To, "jane") {
		t.Errorf("%v, %+v", err, found)
	}
}

func TestTalliesAndReasons(t *testing.T) {
	h, at := fresh(t, generous()), begun()
	var events []relay.Event
	for i := range 30 {
		events = append(events, refused(at.Add(time.Duration(i)*time.Minute), fmt.Sprint("m", i),
			"x@example.net", "550 5.1.1 no\r\n"))
	}
	events = append(events, relay.Event{Time: at.Add(time.Minute), Kind: relay.EventRelayed, ID: "r"})
	recorded(t, h, events...)
	tallies, err := h.Tallies(t.Context(), at.Add(10*time.Minute), 10*time.Minute)
	if err != nil || len(tallies) != 2 || tallies[0].Count != 10 || tallies[1].Count != 10 ||
		!tallies[0].Start.Equal(at.Add(10*time.Minute)) || tallies[0].Category != diagnose.InvalidAddress {
		t.Errorf("of the last twenty minutes: %v, %+v", err, tallies)
	}
	reasons, err := h.Reasons(t.Context(), at, []relay.EventKind{relay.EventFailed, relay.EventExpired})
	if err != nil || len(reasons) != 1 {
		t.Fatalf("%v, %+v", err, reasons)
	}
	r := reasons[0]
	if r.Count != 30 || !r.First.Equal(at) || !r.Last.Equal(at.Add(29*time.Minute)) || r.Sample == nil ||
		r.Sample.ID != "m29" || r.Sample.Diagnosis.Fix[0] != "Remove the address." {
		t.Errorf("%+v", r)
	}
	if reasons, err = h.Reasons(t.Context(), at, []relay.EventKind{relay.EventDeferred}); len(reasons) != 0 {
		t.Errorf("of deferrals: %v, %+v", err, reasons)
	}
}

// TestBounded: rows and days are bounded, and the tallies stay exact when rows go.
func TestBounded(t *testing.T) {
	now := begun()
	path := filepath.Join(t.TempDir(), "history.db")
	h := open(t, path, Limits{Keep: 24 * time.Hour, MaxEvents: 10}, begun)
	var events []relay.Event
	for i := range 40 {
		events = append(events, refused(now, fmt.Sprint("m", i), "x@example.net", "550 no\r\n"))
	}
	recorded(t, h, events...)
	h.Close()
	w := writer{h: h}
	w.tidy()
	w.conn.Close()
	h = open(t, path, Limits{Keep: 24 * time.Hour, MaxEvents: 10}, begun)
	if s := h.State(); s.Events != 10 {
		t.Errorf("%+v", s)
	}
	tallies, err := h.Tallies(t.Context(), now, time.Hour)
	if err != nil || len(tallies) != 1 || tallies[0].Count != 40 {
		t.Errorf("%v, %+v", err, tallies)
	}
	h.Close()
	h.o.Now = func() time.Time { return now.Add(25 * time.Hour) }
	w = writer{h: h}
	w.tidy()
	w.conn.Close()
	h = open(t, path, generous(), begun)
	tallies, err = h.Tallies(t.Context(), now, time.Hour)
	reasons, errReasons := h.Reasons(t.Context(), now, []relay.EventKind{relay.EventFailed})
	if h.State().Events != 0 || len(tallies) != 0 || len(reasons) != 0 || err != nil || errReasons != nil {
		t.Errorf("after a day: %+v, %v, %+v, %v, %+v", h.State(), err, tallies, errReasons, reasons)
	}
}

// TestRestart: what was recorded is there after an end, orderly or by kill -9, whose traces are the files as
// they stand.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "history.db")
	h := open(t, path, generous(), begun)
	recorded(t, h, refused(begun(), "A", "x@example.net", "550 no\r\n"))
	killed := filepath.Join(t.TempDir(), "history.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(killed+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h.Close()
	for name, path := range map[string]string{"closed": path, "killed": killed} {
		h := open(t, path, generous(), begun)
		if list, err := h.Timeline(t.Context(), "A"); err != nil || len(list) != 1 {
			t.Errorf("%s: %v, %+v", name, err, list)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
}

// TestDamaged: a file that cannot be read, and one of another version, are begun anew; one of another program
// is left alone.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("rubbish ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, path, generous(), begun)
	recorded(t, h, refused(begun(), "A", "x@example.net", "550 no\r\n"))
	h.Close()
	c, err := openFile(path)
	if err == nil {
		err = c.Run("PRAGMA user_version=99")
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	h = open(t, path, generous(), begun)
	if s := h.State(); s.Fault != nil || s.Events != 0 {
		t.Errorf("another version: %+v", s)
	}
	h.Close()
	if c, err = openFile(path); err == nil {
		err = c.Run("PRAGMA application_id=7")
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	h = open(t, path, generous(), begun)
	h.Record(refused(begun(), "A", "x@example.net", "550 no\r\n"))
	smtptest.WaitFor(t, "the loss", func() bool { return h.State().Lost == 1 })
	if s := h.State(); s.Fault == nil || !strings.Contains(s.Fault.Error(), "application 0x7") {
		t.Errorf("another program's: %+v", s)
	}
}

// TestNeverWaits: without a writer that takes anything, Record returns, and the loss is counted.
func TestNeverWaits(t *testing.T) {
	h := &History{queue: make(chan row, 4)}
	for range 10 {
		h.Record(refused(begun(), "A", "x@example.net", "550 no\r\n"))
	}
	if n := h.lost.Load(); n != 6 {
		t.Errorf("%d events lost, want 6", n)
	}
	h = &History{queue: make(chan row, 1000)}
	long := refused(begun(), "A", "x@example.net", "550 no\r\n")
	long.Note = strings.Repeat("x", 1<<20)
	for range 100 {
		h.Record(long)
	}
	if n := h.waiting.Load(); n > backlogMem+2<<20 || h.lost.Load() < 80 {
		t.Errorf("%d bytes wait, %d events lost", n, h.lost.Load())
	}
}

func TestSubscribe(t *testing.T) {
	h := fresh(t, generous())
	events, cancel := h.Subscribe()
	h.Record(refused(begun(), "A", "x@example.net", "550 no\r\n"))
	e := <-events
	found, err := h.Latest(t.Context(), relay.HistoryFilter{Limit: 1})
	if err != nil || len(found) != 1 || found[0].Number != e.Number || e.ID != "A" {
		t.Errorf("heard %+v, stored %+v, %v", e, found, err)
	}
	cancel()
	h.Record(refused(begun(), "B", "x@example.net", "550 no\r\n"))
	smtptest.WaitFor(t, "the second", func() bool { return h.State().Events == 2 })
	if len(events) != 0 {
		t.Error("an event after the end")
	}
}

// BenchmarkRecord: what an event costs the relay, and the file.
func BenchmarkRecord(b *testing.B) {
	path := filepath.Join(b.TempDir(), "history.db")
	h := open(b, path, generous(), time.Now)
	e := refused(time.Now(), relay.NewID(time.Now()), "jane.roe@customer.example",
		"550-5.1.1 The email account that you tried to reach does not exist.\r\n550 5.1.1 try again\r\n")
	for b.Loop() {
		h.Record(e)
		for len(h.queue) > backlogMost/2 {
			time.Sleep(time.Millisecond)
		}
	}
	h.Close()
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/float64(b.N), "bytes/event")
	}
	b.ReportMetric(float64(h.lost.Load()), "lost")
}
