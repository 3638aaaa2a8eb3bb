package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin/stream"
)

// shelf is a Queue in memory.
type shelf struct {
	mu       sync.Mutex
	messages map[string]*relay.Message
	leased   map[string]bool
	statErr  error
	pages    int
}

func (s *shelf) List(_ context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages++
	n := 0
	ids := []string{}
	for id := range s.messages {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		m := *s.messages[id]
		if id <= f.After || len(f.IDs) > 0 && !slices.Contains(f.IDs, id) || f.Sender != "" &&
			f.Sender != m.Envelope.From ||
			f.State != "" && f.State != m.Recipients[0].State || !f.OlderThan.IsZero() &&
			m.Arrived.After(f.OlderThan) {
			continue
		}
		m.Recipients = slices.Clone(m.Recipients)
		if n++; !each(&m) || n == f.Limit {
			return nil
		}
	}
	return nil
}

func (s *shelf) Stat(context.Context) (relay.SpoolStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return relay.SpoolStat{Messages: int64(len(s.messages))}, s.statErr
}

func (s *shelf) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.messages[id]
	if !ok {
		return relay.ErrNotFound
	}
	if s.leased[id] {
		return fmt.Errorf("waiting for the lease: %w", context.DeadlineExceeded)
	}
	own := *m
	own.Recipients = slices.Clone(m.Recipients)
	settled, drop, err := change(&own)
	switch {
	case err != nil:
		return fmt.Errorf("edit: %w", err)
	case drop:
		delete(s.messages, id)
	default:
		m.Recipients = settled.Recipients
	}
	return nil
}

func (s *shelf) Reroute(context.Context, []string, string) (int64, error) { return 0, nil }

// events is a Recorder that keeps what it is told.
type events struct {
	mu   sync.Mutex
	list []relay.Event
}

func (e *events) Record(ev relay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) kinds() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s []string
	for _, ev := range e.list {
		s = append(s, string(ev.Kind)+" "+ev.To)
	}
	return strings.Join(s, ", ")
}

// control is a relay that runs in name only.
type control struct {
	mu     sync.Mutex
	kicks  int
	lanes  []relay.LaneState
	faults []string
	notes  []string
}

func (c *control) TryNow()                  { c.mu.Lock(); c.kicks++; c.mu.Unlock() }
func (c *control) Probe(string)             { c.TryNow() }
func (c *control) Lanes() []relay.LaneState { return c.lanes }
func (c *control) Faults() []string         { return c.faults }
func (c *control) Notes() []string          { return c.notes }

// heard is feedback that only says how much of it waits.
type heard struct {
	Feedback
	backlog Backlog
	err     error
}

func (h *heard) Fault() error                                        { return nil }
func (h *heard) Erase(context.Context, string, bool) (Erased, error) { return Erased{}, h.err }
func (h *heard) Backlog(context.Context) (Backlog, error)            { return h.backlog, h.err }

// bench is a Server with all that it stands on, and a Client of it.
type bench struct {
	*Client
	queue   *shelf
	events  *events
	control *control
	heard   heard
	socket  string
	now     time.Time
}

// start serves n messages, each with one deferred and one relayed recipient, until the test ends.
func start(t *testing.T, n int) *bench {
	t.Helper()
	b := &bench{
		queue:   &shelf{messages: map[string]*relay.Message{}, leased: map[string]bool{}},
		events:  &events{},
		control: &control{lanes: []relay.LaneState{{Name: "default"}}},
		now:     time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		socket:  filepath.Join(t.TempDir(), "admin.sock"),
	}
	for i := range n {
		b.add(i)
	}
	b.Client = NewClient(b.socket)
	s, err := New(Options{Queue: b.queue, Control: b.control, Record: b.events,
		Log: slog.New(slog.DiscardHandler), Events: newStream(),
		Feedback: &b.heard, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, b.socket)
	return b
}

// newStream is a stream of events that few follow.
func newStream() *stream.Stream { return stream.New(stream.Options{Run: "r", Keep: 8, Followers: 4}) }

// run serves until the test ends.
func run(t *testing.T, s *Server, socket string) {
	t.Helper()
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// add puts message number i on the shelf and returns its id.
func (b *bench) add(i int) string {
	arrived := b.now.Add(-time.Duration(1000-i) * time.Minute)
	m := &relay.Message{
		ID: relay.DerivedID(arrived, fmt.Sprint(i)), Lane: "default", Arrived: arrived, Size: 100,
		Envelope: relay.Envelope{From: fmt.Sprintf("s%d@example.com", i%2)},
		Client:   relay.Client{Addr: "127.0.0.1"},
		Recipients: []relay.Recipient{
			{Address: "waits@example.com", State: relay.Deferred, Attempts: 2,
				NextAttempt: b.now.Add(time.Hour),
				Last: &relay.Attempt{Stage: diagnose.StageRcpt,
					Reply: diagnose.ParseReply("452 4.2.2 full\xff\r\n")},
				Diagnosis: &diagnose.Diagnosis{Category: diagnose.MailboxFull, Reason: "mailbox_full"}},
			{Address: "gone@example.com", State: relay.Relayed},
		},
	}
	b.queue.messages[m.ID] = m
	return m.ID
}

// ids lists the ids that f selects.
func (b *bench) ids(t *testing.T, f relay.QueueFilter) (ids []string) {
	t.Helper()
	if err := b.List(t.Context(), f,
		func(s Summary) error { ids = append(ids, s.ID); return nil }); err != nil {
		t.Fatalf("List: %v", err)
	}
	return ids
}

// act carries out a and returns the outcomes.
func (b *bench) act(t *testing.T, a Action, f relay.QueueFilter) (out []Outcome) {
	t.Helper()
	if err := b.Act(t.Context(), a, f, false,
		func(o Outcome) error { out = append(out, o); return nil }); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	return out
}

func TestListPagesAndFilters(t *testing.T) {
	const n = 2*pageSize + 7
	b := start(t, n)
	all := b.ids(t, relay.QueueFilter{})
	if len(all) != n || !slices.IsSorted(all) || b.queue.pages < 3 {
		t.Errorf("%d messages in %d pages, want %d", len(all), b.queue.pages, n)
	}
	for _, tc := range []struct {
		f    relay.QueueFilter
		want int
	}{
		{relay.QueueFilter{Limit: 3}, 3},
		{relay.QueueFilter{Limit: pageSize + 1}, pageSize + 1},
		{relay.QueueFilter{Sender: "s0@example.com"}, (n + 1) / 2},
		{relay.QueueFilter{IDs: all[5:8]}, 3},
		{relay.QueueFilter{After: all[n-3]}, 2},
		{relay.QueueFilter{OlderThan: b.now.Add(-995 * time.Minute)}, 6},
		{relay.QueueFilter{State: relay.Held}, 0},
	} {
		if got := b.ids(t, tc.f); len(got) != tc.want {
			t.Errorf("%+v: %d messages, want %d", tc.f, len(got), tc.want)
		}
	}
}

func TestSummary(t *testing.T) {
	b := start(t, 1)
	err := b.List(t.Context(), relay.QueueFilter{}, func(s Summary) error {
		r := s.Recipients[0]
		if s.From != "s0@example.com" || len(s.Recipients) != 2 || r.Code != 452 ||
			r.Category != diagnose.MailboxFull || r.Attempts != 2 || r.NextAttempt != b.now.Add(time.Hour) ||
			!s.Recipients[1].NextAttempt.IsZero() {
			t.Errorf("summary %+v", s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestShow(t *testing.T) {
	b := start(t, 1)
	id := b.ids(t, relay.QueueFilter{})[0]
	m, err := b.Show(t.Context(), id)
	if err != nil || m.ID != id || m.Recipients[0].Last.Reply.Raw != "452 4.2.2 full\xff\r\n" {
		t.Errorf("%v: %+v: the reply's bytes must survive", err, m)
	}
	_, err = b.Show(t.Context(), relay.NewID(b.now))
	if !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if _, err := b.Show(t.Context(), "../../etc/passwd"); err == nil || errors.Is(err, relay.ErrNotFound) {
		t.Errorf("an id that is none: %v", err)
	}
}

func TestHoldReleaseRetryDrop(t *testing.T) {
	b := start(t, 2)
	id := b.ids(t, relay.QueueFilter{})[0]
	only := relay.QueueFilter{IDs: []string{id}}
	first := func() relay.Recipient { return b.queue.messages[id].Recipients[0] }

	if out := b.act(t, Hold, only); len(out) != 1 || out[0] != (Outcome{ID: id, Recipients: 1}) {
		t.Errorf("hold: %+v", out)
	}
	if r := first(); r.State != relay.Held || r.HeldFrom != relay.Deferred || r.HeldWhy == "" {
		t.Errorf("held: %+v", r)
	}
	if out := b.act(t, Hold, only); out[0].Recipients != 0 || out[0].Error != "" {
		t.Errorf("hold again: %+v", out)
	}
	if out := b.act(t, Retry, only); out[0].Recipients != 0 {
		t.Errorf("retry of what is held: %+v", out)
	}
	b.act(t, Release, only)
	if r := first(); r.State != relay.Deferred || r.HeldFrom != "" || r.HeldWhy != "" ||
		!r.NextAttempt.Equal(b.now) || r.Attempts != 2 {
		t.Errorf("released: %+v", r)
	}
	b.queue.messages[id].Recipients[0].NextAttempt = b.now.Add(time.Hour)
	b.act(t, Retry, only)
	if r := first(); r.State != relay.Deferred || !r.NextAttempt.Equal(b.now) {
		t.Errorf("retried: %+v", r)
	}
	b.act(t, Drop, only)
	if len(b.queue.messages) != 1 || b.queue.messages[id] != nil {
		t.Errorf("dropped: %d left", len(b.queue.messages))
	}
	if got, want := b.events.kinds(),
		"held waits@example.com, released waits@example.com, dropped waits@example.com"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
	if e := b.events.list[0]; e.ID != id || e.From != "s0@example.com" || e.Client != "127.0.0.1" ||
		e.Note == "" || e.Delay != 1000*time.Minute {
		t.Errorf("event %+v", e)
	}
	if b.control.kicks != 6 {
		t.Errorf("the lanes were kicked %d times, want 6", b.control.kicks)
	}
}

// TestReleaseOfReport: a bounce that could not be sent was held by the engine, whatever its state was before.
func TestReleaseOfReport(t *testing.T) {
	for was, want := range map[relay.State]relay.State{"": relay.Deferred, relay.Queued: relay.Queued,
		relay.Failed: relay.Deferred} {
		r := relay.Recipient{State: relay.Held, HeldFrom: was}
		if !release(time.Now())(&r) || r.State != want {
			t.Errorf("held from %q: released to %q, want %q", was, r.State, want)
		}
	}
}

// TestActionWantsFilter: no slip of the operator drops the whole queue.
func TestActionWantsFilter(t *testing.T) {
	b := start(t, 3)
	none := func(Outcome) error { return nil }
	if err := b.Act(t.Context(), Drop, relay.QueueFilter{}, false, none); err == nil ||
		!strings.HasPrefix(err.Error(), "nothing selects the messages; give ids") {
		t.Errorf("drop without a filter: %v", err)
	}
	if err := b.Act(t.Context(), "frobnicate", relay.QueueFilter{}, true, none); err == nil {
		t.Error("an unknown action passed")
	}
	if len(b.queue.messages) != 3 {
		t.Fatalf("%d messages left", len(b.queue.messages))
	}
	if err := b.Act(t.Context(), Drop, relay.QueueFilter{}, true, none); err != nil ||
		len(b.queue.messages) != 0 {
		t.Errorf("drop of all: %v, %d left", err, len(b.queue.messages))
	}
}

func TestBadRequests(t *testing.T) {
	b := start(t, 1)
	c := b.Client.http
	for _, path := range []string{"/queue?sendr=x", "/queue?state=delivered", "/queue?older_than=1h",
		"/queue?limit=-1", "/queue?id=x", "/queue?limit=x", "/queue?limit=1001", "/queue?sender=a&sender=b",
		"/queue?sender=%zz", "/messages/x", "/health?x=1"} {
		resp, err := c.Get("http://mailwhy/v1" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), `"error"`) {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
}

// TestOtherSites: what strangers' pages send through the operator's tunnel to the control socket does
// nothing.
func TestOtherSites(t *testing.T) {
	b := start(t, 2)
	for _, tt := range []struct {
		method, url, site string
		want              int
	}{
		{"POST", "http://localhost:8026/v1/queue/drop", "cross-site", http.StatusForbidden},
		{"POST", "http://evil.example/v1/queue/drop", "same-origin", http.StatusMisdirectedRequest},
		{"GET", "http://evil.example/v1/config", "", http.StatusMisdirectedRequest},
		{"GET", "http://localhost:8026/v1/queue", "same-origin", http.StatusOK},
	} {
		r, err := http.NewRequest(tt.method, tt.url, strings.NewReader(`{"all":true}`))
		if err != nil {
			t.Fatal(err)
		}
		if tt.method == "GET" {
			r.Body, r.ContentLength = nil, 0
		}
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		resp, err := b.Client.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want || len(b.queue.messages) != 2 {
			t.Errorf("%s %s: %s, %d messages left", tt.method, tt.url, resp.Status, len(b.queue.messages))
		}
	}
}

// TestLeasedMessage: what is on its way is not changed, and the operator hears why.
func TestLeasedMessage(t *testing.T) {
	b := start(t, 2)
	ids := b.ids(t, relay.QueueFilter{})
	b.queue.leased[ids[0]] = true
	out := b.act(t, Drop, relay.QueueFilter{IDs: ids})
	if len(out) != 2 || out[0].Error == "" || out[1].Error != "" || len(b.queue.messages) != 1 {
		t.Errorf("outcomes %+v", out)
	}
}

func TestHealth(t *testing.T) {
	b := start(t, 3)
	h, err := b.Health(t.Context())
	if err != nil || !h.OK || h.Spool.Messages != 3 || len(h.Lanes) != 1 || len(h.Notes) != 0 {
		t.Errorf("well: %v, %+v", err, h)
	}
	b.control.lanes[0] = relay.LaneState{Name: "default", Paused: true, Since: b.now,
		Diagnosis: &diagnose.Diagnosis{Cause: "The password is wrong."}}
	h, err = b.Health(t.Context())
	if want := "upstream default is paused since 2026-11-23T12:00:00Z: The password is wrong."; err != nil ||
		!h.OK || !slices.Equal(h.Notes, []string{want}) {
		t.Errorf("paused: %v, %+v", err, h)
	}
	quota := &diagnose.Diagnosis{Cause: "The quota is used up."}
	b.control.lanes[0] = relay.LaneState{
		Name: "default", Slowed: true, Since: b.now, Limit: 3, Rate: 0.47951930477456123,
		Diagnosis: &diagnose.Diagnosis{Cause: "Too fast."},
		Senders:   []relay.SenderPaused{{Sender: "s@example.com", Since: b.now, Diagnosis: quota}},
	}
	h, err = b.Health(t.Context())
	want := []string{
		"upstream default is slowed, to 0.48 messages a second over 3 connections since " +
			"2026-11-23T12:00:00Z: Too fast.",
		"mail of s@example.com waits for upstream default since 2026-11-23T12:00:00Z: The quota is used up.",
	}
	if err != nil || !h.OK || !slices.Equal(h.Notes, want) || h.Lanes[0].Rate != 0.48 {
		t.Errorf("slowed: %v, %+v", err, h)
	}
	b.control.faults = []string{"the listener ended"}
	b.queue.statErr = errors.New("disk I/O error")
	h, err = b.Health(t.Context())
	if err != nil || h.OK || len(h.Reasons) != 2 || !strings.Contains(h.Reasons[1], "disk I/O error") {
		t.Errorf("ill: %v, %+v", err, h)
	}
	resp, err := b.Client.http.Get("http://mailwhy/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ill: %s", resp.Status)
	}
}

// TestHealthOfFeedback: what came back and waits is told, and noted once it waits for long.
func TestHealthOfFeedback(t *testing.T) {
	b := start(t, 0)
	b.heard.backlog = Backlog{Due: 7, Oldest: b.now.Add(-4 * time.Minute), Later: 2, Kept: 1}
	h, err := b.Health(t.Context())
	if err != nil || !h.OK || h.Feedback == nil || *h.Feedback != b.heard.backlog || len(h.Notes) > 0 {
		t.Errorf("%v, %+v", err, h)
	}
	b.heard.backlog.Oldest = b.now.Add(-6 * time.Minute)
	h, err = b.Health(t.Context())
	if err != nil || !h.OK || len(h.Notes) != 1 || !strings.HasPrefix(h.Notes[0],
		"feedback is behind: 7 reports are to be processed, the oldest since 2026-11-23T11:54:00Z; ") {
		t.Errorf("late: %v, %+v", err, h)
	}
	b.heard.err = errors.New("disk I/O error")
	h, err = b.Health(t.Context())
	if err != nil || !h.OK || h.Feedback != nil || len(h.Notes) != 1 ||
		h.Notes[0] != "the store of feedback does not answer: disk I/O error" {
		t.Errorf("no answer: %v, %+v", err, h)
	}
}

// TestSocket: only its owner can open it; it goes with the relay; a dead one is replaced, a living one is
// not.
func TestSocket(t *testing.T) {
	b := start(t, 0)
	info, err := os.Stat(b.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
	if _, err := Listen(b.socket); err == nil || !strings.Contains(err.Error(), "another relay") {
		t.Errorf("a second listener: %v", err)
	}
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as kill -9 leaves it
	first.Close()
	second, err := Listen(path)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	second.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("over a foreign file: %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := NewClient(path).Health(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewClient(path).Health(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead socket: %v", err)
	}
}

// TestWaitsForThePausedUpstream: a list and a message say what mail really waits for, and until when.
func TestWaitsForThePausedUpstream(t *testing.T) {
	b := start(t, 2)
	ids := b.ids(t, relay.QueueFilter{})
	b.queue.messages[ids[1]].Recipients[0].NextAttempt = b.now.Add(-time.Minute) // due
	paused := relay.LaneState{Name: "default", Paused: true, NextProbe: b.now.Add(10 * time.Minute)}
	sender := relay.LaneState{Name: "default", Senders: []relay.SenderPaused{
		{Sender: "s1@example.com", NextProbe: b.now.Add(20 * time.Minute)},
	}}
	for _, tt := range []struct {
		name     string
		lane     relay.LaneState
		waitsFor [2]string // of the first and the second message
		next     [2]time.Duration
	}{
		{"well", relay.LaneState{Name: "default"}, [2]string{}, [2]time.Duration{}},
		{"another is paused", relay.LaneState{Name: "other", Paused: true}, [2]string{}, [2]time.Duration{}},
		{"paused", paused, [2]string{relay.WaitsForUpstream, relay.WaitsForUpstream},
			[2]time.Duration{time.Hour, 10 * time.Minute}},
		{"a sender is paused", sender, [2]string{"", relay.WaitsForSender},
			[2]time.Duration{0, 20 * time.Minute}},
	} {
		b.control.lanes[0] = tt.lane
		i := 0
		err := b.List(t.Context(), relay.QueueFilter{}, func(s Summary) error {
			r, next := s.Recipients[0], time.Time{}
			if tt.next[i] != 0 {
				next = b.now.Add(tt.next[i])
			}
			if r.WaitsFor != tt.waitsFor[i] || !r.NextTry.Equal(next) || s.Recipients[1].WaitsFor != "" {
				t.Errorf("%s, message %d: %+v, want %q until %v", tt.name, i, s.Recipients, tt.waitsFor[i],
					next)
			}
			i++
			return nil
		})
		m, errShow := b.Show(t.Context(), ids[1])
		if err != nil || errShow != nil {
			t.Fatal(err, errShow)
		}
		if (m.Upstream != nil) != (tt.waitsFor[1] != "") || m.ID != ids[1] {
			t.Errorf("%s: shown with upstream %+v", tt.name, m.Upstream)
		}
	}
}

// TestRetryCountsWhatIsDue: a retry tells what it made due from what was due before, and from what nobody
// waits for.
func TestRetryCountsWhatIsDue(t *testing.T) {
	b := start(t, 3)
	ids := b.ids(t, relay.QueueFilter{})
	b.queue.messages[ids[1]].Recipients[0].NextAttempt = b.now
	b.queue.messages[ids[2]].Recipients[0].State = relay.Relayed
	want := []Outcome{{ID: ids[0], Recipients: 1, Due: 1}, {ID: ids[1], Due: 1}, {ID: ids[2]}}
	if out := b.act(t, Retry, relay.QueueFilter{IDs: ids}); !slices.Equal(out, want) {
		t.Errorf("outcomes %+v, want %+v", out, want)
	}
	if out := b.act(t, Drop, relay.QueueFilter{IDs: ids[:1]}); out[0].Due != 0 {
		t.Errorf("a drop left %+v due", out)
	}
}
