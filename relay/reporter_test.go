package relay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/dsn"
	"mailwhy/relay/spool"
)

// A reporter is tested against a store in memory that can crash at each of its steps, and against the real engine.
// The composer of these tests writes what it was asked for as JSON, so that what was told, and how often, is read
// from the reports that the store holds in the end.

// store is what both engines are to the tests.
type store interface {
	relay.NoticeSpool
	Put(ctx context.Context, m *relay.Message, content io.Reader) error
	Lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error)
	Settle(ctx context.Context, t relay.Token, s relay.Settlement) error
}

// fakeStore is a store in memory.
type fakeStore struct {
	mu       sync.Mutex
	messages map[string]*relay.Message
	contents map[string][]byte
	known    map[string]bool // ids that were ever stored
	notices  []relay.Notice
}

func newFakeStore() *fakeStore {
	return &fakeStore{messages: map[string]*relay.Message{}, contents: map[string][]byte{}, known: map[string]bool{}}
}

func clone(m *relay.Message) *relay.Message {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	return &c
}

func (s *fakeStore) Put(_ context.Context, m *relay.Message, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(m, b)
	return nil
}

func (s *fakeStore) put(m *relay.Message, b []byte) {
	if !s.known[m.ID] {
		s.known[m.ID], s.messages[m.ID], s.contents[m.ID] = true, clone(m), b
	}
}

func (s *fakeStore) Lease(_ context.Context, q relay.LeaseQuery) (ls []relay.Lease, _ time.Time, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.messages {
		due := slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return r.DueAt(q.Now) })
		if due && m.Lane == q.Lane && len(ls) < q.Max {
			ls = append(ls, relay.Lease{Token: relay.Token(id), Message: clone(m)})
		}
	}
	return ls, time.Time{}, nil
}

func (s *fakeStore) Settle(_ context.Context, t relay.Token, st relay.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[string(t)].Recipients = slices.Clone(st.Recipients)
	s.notices = append(s.notices, st.Notices...)
	if len(st.Notices) == 0 {
		s.tidy(map[string]bool{string(t): true})
	}
	return nil
}

// tidy removes those of the messages that nothing waits for.
func (s *fakeStore) tidy(ids map[string]bool) {
	for _, n := range s.notices {
		delete(ids, n.Message)
	}
	for id := range ids {
		m := s.messages[id]
		if m != nil && !slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return !r.State.Final() }) {
			delete(s.messages, id)
		}
	}
}

func (s *fakeStore) DueNotices(_ context.Context, now time.Time, max int) (due []relay.Notices, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := map[string][]relay.Notice{}
	first := map[string]time.Time{}
	for _, n := range s.notices {
		of[n.Message] = append(of[n.Message], n)
		if f, ok := first[n.Message]; !ok || n.Due.Before(f) {
			first[n.Message] = n.Due
		}
	}
	ids := make([]string, 0, len(first))
	for id := range first {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := first[a].Compare(first[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for _, id := range ids {
		if first[id].After(now) || len(due) == max {
			return due, first[id], nil
		}
		due = append(due, relay.Notices{Message: clone(s.messages[id]), Notices: of[id]})
	}
	return due, time.Time{}, nil
}

func (s *fakeStore) Report(_ context.Context, consumed []relay.Notice, m *relay.Message, content io.Reader) error {
	var b []byte
	if m != nil {
		var err error
		if b, err = io.ReadAll(content); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone, of := map[relay.Notice]bool{}, map[string]bool{}
	for _, n := range consumed {
		of[n.Message] = true
		gone[relay.Notice{Message: n.Message, Recipient: n.Recipient, Kind: n.Kind}] = true
	}
	s.notices = slices.DeleteFunc(s.notices, func(n relay.Notice) bool {
		return gone[relay.Notice{Message: n.Message, Recipient: n.Recipient, Kind: n.Kind}]
	})
	if m != nil {
		s.put(m, b)
	}
	s.tidy(of)
	return nil
}

func (s *fakeStore) Postpone(_ context.Context, notices []relay.Notice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := map[relay.Notice]relay.Notice{}
	for _, n := range notices {
		to[relay.Notice{Message: n.Message, Recipient: n.Recipient, Kind: n.Kind}] = n
	}
	for i, n := range s.notices {
		if p, ok := to[relay.Notice{Message: n.Message, Recipient: n.Recipient, Kind: n.Kind}]; ok {
			s.notices[i] = p
		}
	}
	return nil
}

func (s *fakeStore) Content(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.contents[id]
	if !ok {
		return nil, relay.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

var errCrashed = errors.New("crashed")

// crashing is a store whose process dies at a random step: before a transaction, or after it and before its caller
// hears of it. From then on nothing works.
type crashing struct {
	store
	mu   *sync.Mutex
	rnd  *rand.Rand
	odds int // one in so many; 0 is never
	last int // dies for certain before this step, counted from 1; 0 is never
	done int // steps
	dead bool
}

func (c *crashing) step(write func() error) error {
	c.mu.Lock()
	before := c.dead || c.odds > 0 && c.rnd.IntN(c.odds) == 0
	c.done++
	before = before || c.last > 0 && c.done >= c.last
	after := !before && c.odds > 0 && c.rnd.IntN(c.odds) == 0
	c.dead = c.dead || before || after
	c.mu.Unlock()
	if before {
		return errCrashed
	}
	if err := write(); err != nil || !after {
		return err
	}
	return errCrashed
}

func (c *crashing) DueNotices(ctx context.Context, now time.Time, max int) (due []relay.Notices, next time.Time, err error) {
	err = c.step(func() error {
		due, next, err = c.store.DueNotices(ctx, now, max)
		return err
	})
	return due, next, err
}

func (c *crashing) Report(ctx context.Context, consumed []relay.Notice, m *relay.Message, content io.Reader) error {
	return c.step(func() error { return c.store.Report(ctx, consumed, m, content) })
}

func (c *crashing) Postpone(ctx context.Context, notices []relay.Notice) error {
	return c.step(func() error { return c.store.Postpone(ctx, notices) })
}

// told is what the composer of the tests writes.
type told struct {
	Kind       relay.NoticeKind
	To         string
	Message    string
	Recipients []string
	States     []relay.State
	Digest     []string // recipients
}

type jsonComposer struct{ fail func() error }

func (c jsonComposer) Compose(r *relay.Report) (*relay.Draft, error) {
	w := told{Kind: r.Kind, To: r.To, Message: r.Message.ID}
	for _, i := range r.Recipients {
		w.Recipients = append(w.Recipients, r.Message.Recipients[i].Address)
		w.States = append(w.States, r.Message.Recipients[i].State)
	}
	return c.draft(w)
}

func (c jsonComposer) ComposeDigest(d *relay.Digest) (*relay.Draft, error) {
	w := told{Kind: relay.NoticeFailed, To: d.To}
	for _, f := range d.Failures {
		w.Digest = append(w.Digest, f.Recipient)
	}
	return c.draft(w)
}

func (c jsonComposer) draft(w told) (*relay.Draft, error) {
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(w)
	return &relay.Draft{MessageID: "<r@relay>", Subject: "r", From: "postmaster@relay", Content: b}, err
}

// world is a store, a clock and the reporter of the moment.
type world struct {
	t     *testing.T
	now   time.Time
	store store
	died  *crashing
	rnd   *rand.Rand
	odds  int
	o     relay.ReporterOptions
	rep   *relay.Reporter
	n     int

	mu     sync.Mutex
	events []relay.Event
}

func newWorld(t *testing.T, s store, seed uint64) *world {
	w := &world{t: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), store: s, rnd: rand.New(rand.NewPCG(seed, 1))}
	w.o = relay.ReporterOptions{
		Composer: jsonComposer{}, Record: w, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now },
	}
	return w
}

func (w *world) Record(e relay.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// restart begins with a new reporter on the same store.
func (w *world) restart() {
	w.died = &crashing{store: w.store, mu: &w.mu, rnd: w.rnd, odds: w.odds}
	o := w.o
	o.Spool = w.died
	w.rep = relay.NewReporter(o)
	w.rep.Begin(context.Background())
}

// turn lets the reporter work for a while, and starts it anew when it crashed.
func (w *world) turn(d time.Duration) {
	if w.rep == nil || w.died.dead {
		w.restart()
	}
	w.now = w.now.Add(d)
	w.rep.Turn(context.Background())
}

// settleDown lets it work, without further crashes, until nothing is due for a day.
func (w *world) settleDown() {
	w.odds = 0
	w.restart()
	for range 1500 {
		w.turn(time.Minute)
	}
}

// accept stores a message.
func (w *world) accept(from string, rs ...relay.Recipient) string {
	w.t.Helper()
	w.n++
	m := &relay.Message{
		ID: relay.DerivedID(w.now, fmt.Sprint(w.n)), Lane: "default", Arrived: w.now, MessageID: fmt.Sprintf("<%d@example.com>", w.n),
		Envelope: relay.Envelope{From: from}, Recipients: rs,
	}
	for i := range m.Recipients {
		m.Recipients[i].State, m.Recipients[i].NextAttempt = relay.Queued, w.now
	}
	if err := w.store.Put(context.Background(), m, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		w.t.Fatal(err)
	}
	return m.ID
}

var policy = relay.Policy{Collect: 5 * time.Second, DelayAfter: 4 * time.Hour}

// settle leases every message that is due and lets change alter each of its waiting recipients.
func (w *world) settle(change func(m *relay.Message, r *relay.Recipient)) {
	w.t.Helper()
	leases, _, err := w.store.Lease(context.Background(), relay.LeaseQuery{
		Lane: "default", Now: w.now, Max: 1 << 20, Until: w.now.Add(time.Minute),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortFunc(leases, func(a, b relay.Lease) int { return strings.Compare(a.Message.ID, b.Message.ID) })
	for _, l := range leases {
		after := slices.Clone(l.Message.Recipients)
		for i := range after {
			if after[i].DueAt(w.now) && !l.Message.Report {
				change(l.Message, &after[i])
			}
		}
		st := relay.Settlement{Recipients: after, Notices: relay.NoticesFor(&policy, l.Message, after, w.now)}
		if l.Message.Report {
			st.Recipients[0].NextAttempt = w.now.Add(1000 * time.Hour)
		}
		if err := w.store.Settle(context.Background(), l.Token, st); err != nil {
			w.t.Fatal(err)
		}
	}
}

// attempted is a recipient's last attempt.
func (w *world) attempted(reply string) *relay.Attempt {
	return &relay.Attempt{Time: w.now, Stage: diagnose.StageRcpt, Reply: diagnose.ParseReply(reply)}
}

// fail settles every due recipient as refused with a diagnosis.
func (w *world) fail(reason diagnose.Reason) {
	w.settle(func(_ *relay.Message, r *relay.Recipient) {
		r.State, r.Last = relay.Failed, w.attempted("550 5.1.1 no\r\n")
		r.Diagnosis = &diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: reason}
	})
}

// reports are what the store's reports tell.
func (w *world) reports() (all []told) {
	w.t.Helper()
	for _, m := range w.stored() {
		all = append(all, w.read(m))
	}
	return all
}

// stored are the reports that the store holds.
func (w *world) stored() (ms []*relay.Message) {
	w.t.Helper()
	if f, ok := w.store.(*fakeStore); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, m := range f.messages {
			if m.Report {
				ms = append(ms, m)
			}
		}
	} else {
		err := w.store.(relay.Lister).List(context.Background(), relay.QueueFilter{}, func(m *relay.Message) bool {
			if m.Report {
				ms = append(ms, m)
			}
			return true
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	slices.SortFunc(ms, func(a, b *relay.Message) int { return strings.Compare(a.ID, b.ID) })
	return ms
}

func (w *world) read(m *relay.Message) (x told) {
	w.t.Helper()
	rc, err := w.store.Content(context.Background(), m.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rc.Close()
	if err := json.NewDecoder(rc).Decode(&x); err != nil {
		w.t.Fatal(err)
	}
	return x
}

// sqlite opens the real engine.
func sqlite(t *testing.T) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), MaxDelay: 10000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// both runs a test on both engines.
func both(t *testing.T, test func(t *testing.T, s store)) {
	t.Run("memory", func(t *testing.T) { test(t, newFakeStore()) })
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
}

func TestReportsTogether(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := newWorld(t, s, 1)
		id := w.accept("app@example.com", relay.Recipient{Address: "a@x"}, relay.Recipient{Address: "b@x"}, relay.Recipient{Address: "c@x"})
		w.settle(func(_ *relay.Message, r *relay.Recipient) {
			r.State, r.Last = relay.Failed, w.attempted("550 no\r\n")
			if r.Address == "c@x" {
				r.State, r.NextAttempt = relay.Deferred, w.now.Add(2*time.Second)
			}
		})
		w.turn(2 * time.Second)
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports before the time to collect is over", n)
		}
		w.fail("user_unknown")
		w.turn(3 * time.Second)
		got := w.reports()
		if len(got) != 1 || !slices.Equal(got[0].Recipients, []string{"a@x", "b@x", "c@x"}) || got[0].Message != id || got[0].To != "app@example.com" {
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
	if !m.Report || m.Envelope.From != "" || m.Envelope.Ret != "" || r.Notify != relay.NotifyNever || r.Address != "app@example.com" || m.Lane != "default" {
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

// TestExactlyOneReport: for random histories of attempts and crashes each recipient that is owed a report gets one.
func TestExactlyOneReport(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		for seed := range uint64(300) {
			history(t, newFakeStore(), seed)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		for seed := range uint64(4) {
			history(t, sqlite(t), 1000+seed)
		}
	})
}

// history plays one random history and checks its end.
func history(t *testing.T, s store, seed uint64) {
	t.Helper()
	w := newWorld(t, s, seed)
	w.odds = 4 + int(seed%12)
	w.o.Composer = jsonComposer{fail: func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.odds > 0 && w.rnd.IntN(10) == 0 {
			return errors.New("no paper")
		}
		return nil
	}}
	owed := map[string]relay.NoticeKind{} // by address; those that are tried for ever are owed nothing
	for range 12 {
		if w.rnd.IntN(2) == 0 {
			w.accept(pick(w.rnd, "app@example.com", "app@example.com", ""), randomRecipients(w.rnd, &w.n)...)
		}
		w.settle(func(m *relay.Message, r *relay.Recipient) {
			randomOutcome(w, r)
			if kind := owes(m, r); kind != "" {
				owed[r.Address] = kind
			}
		})
		w.turn(time.Duration(w.rnd.IntN(3600*3)) * time.Second)
	}
	w.settleDown()
	got := map[string]relay.NoticeKind{}
	delays := map[string]int{}
	for _, x := range w.reports() {
		for i, a := range x.Recipients {
			if x.Kind == relay.NoticeDelayed {
				delays[a]++
				if x.States[i] != relay.Deferred {
					t.Errorf("seed %d: %s is told of a delay, and is %s", seed, a, x.States[i])
				}
				continue
			}
			if got[a] != "" {
				t.Errorf("seed %d: %s is reported twice", seed, a)
			}
			got[a] = x.Kind
		}
	}
	for a, kind := range owed {
		if got[a] != kind {
			t.Errorf("seed %d: %s is owed %q, got %q", seed, a, kind, got[a])
		}
	}
	for a, kind := range got {
		if owed[a] != kind {
			t.Errorf("seed %d: %s got %q, is owed %q", seed, a, kind, owed[a])
		}
	}
	for a, n := range delays {
		if n > 1 {
			t.Errorf("seed %d: %s is told of a delay %d times", seed, a, n)
		}
	}
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

func randomRecipients(rnd *rand.Rand, n *int) (rs []relay.Recipient) {
	for range 1 + rnd.IntN(4) {
		*n++
		rs = append(rs, relay.Recipient{Address: fmt.Sprintf("r%d@x", *n), Notify: pick(rnd,
			0, 0, relay.NotifyNever, relay.NotifyFailure, relay.NotifySuccess, relay.NotifyDelay,
			relay.NotifySuccess|relay.NotifyFailure|relay.NotifyDelay)})
	}
	return rs
}

// randomOutcome lets an attempt end somehow.
func randomOutcome(w *world, r *relay.Recipient) {
	r.Last = w.attempted("451 later\r\n")
	r.State = pick(w.rnd, relay.Failed, relay.Expired, relay.Relayed, relay.Deferred, relay.Deferred, relay.Deferred)
	switch r.State {
	case relay.Relayed:
		r.Last = w.attempted("250 ok\r\n")
		r.Last.DSN = w.rnd.IntN(2) == 0
	case relay.Deferred:
		r.NextAttempt = w.now.Add(time.Duration(w.rnd.IntN(7200)) * time.Second)
	}
}

// owes is RFC 3461, 5.2, written down a second time.
func owes(m *relay.Message, r *relay.Recipient) relay.NoticeKind {
	if m.Envelope.From == "" || r.Notify == relay.NotifyNever {
		return ""
	}
	switch {
	case (r.State == relay.Failed || r.State == relay.Expired) && (r.Notify == 0 || r.Notify&relay.NotifyFailure != 0):
		return relay.NoticeFailed
	case r.State == relay.Relayed && r.Notify&relay.NotifySuccess != 0 && !r.Last.DSN:
		return relay.NoticeRelayed
	}
	return ""
}

// TestStorm: ten thousand failures of one cause in a minute, with crashes, make few reports, and every one is told.
func TestStorm(t *testing.T) {
	w := newWorld(t, newFakeStore(), 7)
	w.o.Storm = func() relay.StormPolicy { return relay.StormPolicy{Threshold: 20, Window: 10 * time.Minute} }
	w.storm(60, 10000/60+1, 25)
	w.checkStorm(60*(10000/60+1), 20, 11)
}

func TestStormSQLite(t *testing.T) {
	w := newWorld(t, sqlite(t), 7)
	w.o.Storm = func() relay.StormPolicy { return relay.StormPolicy{Threshold: 5, Window: 10 * time.Minute} }
	w.storm(10, 12, 8)
	w.checkStorm(120, 5, 1)
}

// storm fails messages, so many in each of so many seconds, while the reporter crashes now and then.
func (w *world) storm(seconds, each, odds int) {
	w.odds = odds
	for range seconds {
		for range each {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
		}
		w.fail("user_unknown")
		w.turn(time.Second)
	}
	w.settleDown()
}

// checkStorm holds the bounds, and that each failure is told once.
func (w *world) checkStorm(failures, threshold, digests int) {
	w.t.Helper()
	seen := map[string]int{}
	var single, folded int
	for _, x := range w.reports() {
		if x.Digest != nil {
			folded++
		} else {
			single++
		}
		for _, a := range append(x.Recipients, x.Digest...) {
			seen[a]++
		}
	}
	if len(seen) != failures {
		w.t.Errorf("%d of %d failures are told", len(seen), failures)
	}
	for a, n := range seen {
		if n != 1 {
			w.t.Errorf("%s is told %d times", a, n)
		}
	}
	if single > threshold || folded > digests || folded == 0 {
		w.t.Errorf("%d reports and %d digests, at most %d and %d are allowed", single, folded, threshold, digests)
	}
}

// TestStormEnds: other diagnoses are not folded, a lasting storm stays folded, and after a quiet window all is as before.
func TestStormEnds(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	w.o.Storm = func() relay.StormPolicy { return relay.StormPolicy{Threshold: 2, Window: 10 * time.Minute} }
	burst := func(n int, reason diagnose.Reason) {
		for range n {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
			w.fail(reason)
		}
		w.turn(6 * time.Second)
	}
	counts := func() (single, folded int) {
		for _, x := range w.reports() {
			if x.Digest != nil {
				folded++
			} else {
				single++
			}
		}
		return
	}
	expect := func(when string, single, folded int) {
		t.Helper()
		if s, f := counts(); s != single || f != folded {
			t.Errorf("%s: %d reports and %d digests, want %d and %d", when, s, f, single, folded)
		}
	}
	w.restart() // before the storm, not in it
	burst(5, "user_unknown")
	expect("three are put off", 2, 0)
	burst(2, "mailbox_full")
	expect("another diagnosis is another matter", 4, 0)
	w.turn(10 * time.Minute)
	expect("the digest", 4, 1)
	burst(3, "user_unknown")
	expect("the storm lasts", 4, 1)
	w.turn(10 * time.Minute)
	expect("the second digest", 4, 2)
	w.turn(25 * time.Minute)
	burst(2, "user_unknown")
	expect("the storm is over", 6, 2)
	burst(1, "user_unknown")
	w.turn(10 * time.Minute)
	expect("a digest of one is a report", 7, 2)
}

// TestStormThroughCrash: a crash among the reports before a storm's digest does not make the storm begin anew.
func TestStormThroughCrash(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	w.o.Storm = func() relay.StormPolicy { return relay.StormPolicy{Threshold: 5, Window: 10 * time.Minute} }
	burst := func(n int) {
		for range n {
			w.n++
			w.accept("app@example.com", relay.Recipient{Address: fmt.Sprintf("u%d@x", w.n)})
		}
		w.fail("user_unknown")
	}
	w.restart()
	w.died.last = 6 // before it: two looks, the marks, two reports
	burst(7)
	w.turn(6 * time.Second)
	if n := len(w.reports()); n != 2 || !w.died.dead {
		t.Fatalf("%d reports before the crash, dead: %v", n, w.died.dead)
	}
	burst(4)
	w.settleDown()
	w.checkStorm(11, 5, 1)
}

// TestDelay: no word of a delay while the lane is paused, nor when the mail went out meanwhile.
func TestDelay(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := newWorld(t, s, 1)
		paused := true
		w.o.Paused = func(string) bool { return paused }
		w.o.Expires = func(m *relay.Message) time.Time { return m.Arrived.Add(5 * 24 * time.Hour) }
		w.accept("app@example.com", relay.Recipient{Address: "slow@x"}, relay.Recipient{Address: "gone@x"})
		later := func(_ *relay.Message, r *relay.Recipient) {
			r.State, r.Last, r.NextAttempt = relay.Deferred, w.attempted("451 later\r\n"), w.now.Add(time.Hour)
		}
		w.settle(later)
		w.turn(time.Hour)
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports after an hour", n)
		}
		w.now = w.now.Add(4 * time.Hour)
		w.settle(later)
		for range 5 {
			w.turn(6 * time.Minute)
		}
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports while the lane is paused", n)
		}
		w.turn(time.Hour)
		w.settle(func(m *relay.Message, r *relay.Recipient) {
			if r.Address == "gone@x" {
				r.State, r.Last = relay.Relayed, w.attempted("250 ok\r\n")
				return
			}
			later(m, r)
		})
		paused = false
		w.turn(time.Minute)
		w.turn(2 * time.Minute)
		got := w.reports()
		if len(got) != 1 || got[0].Kind != relay.NoticeDelayed || !slices.Equal(got[0].Recipients, []string{"slow@x"}) {
			t.Fatalf("%+v", got)
		}
		if i := slices.IndexFunc(w.events, func(e relay.Event) bool { return e.Kind == relay.EventDelayed }); i < 0 || w.events[i].To != "slow@x" {
			t.Errorf("events: %+v", w.events)
		}
		w.now = w.now.Add(24 * time.Hour)
		w.settle(later)
		w.turn(time.Minute)
		if n := len(w.reports()); n != 1 {
			t.Errorf("%d reports: one delay notice is enough", n)
		}
	})
}

// TestRoutes: where reports go.
func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		route relay.Route
		to    []string
		lane  string
		files int
	}{
		{"to the sender", relay.Route{}, []string{"app@example.com"}, "default", 0},
		{"another lane", relay.Route{Lane: "backup"}, []string{"app@example.com"}, "backup", 0},
		{"and to the operator", relay.Route{Operator: "ops@x"}, []string{"app@example.com", "ops@x"}, "default", 0},
		{"the operator is the sender", relay.Route{Operator: "App@example.com"}, []string{"app@example.com"}, "default", 0},
		{"to the operator alone", relay.Route{Operator: "ops@x", SkipSenders: true}, []string{"ops@x"}, "default", 0},
		{"nobody else to tell", relay.Route{SkipSenders: true}, []string{"app@example.com"}, "default", 0},
		{"a maildir", relay.Route{Maildir: "/bounces"}, nil, "", 1},
		{"off", relay.Route{Off: true}, nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, newFakeStore(), 1)
			w.o.Route = func(*relay.Message) relay.Route { return tt.route }
			files := map[string]int{}
			w.o.File = func(dir, id string, content []byte) error {
				files[dir+"/"+id] += len(content)
				return nil
			}
			var stored []string
			w.o.Stored = func(lane string) { stored = append(stored, lane) }
			w.accept("app@example.com", relay.Recipient{Address: "a@x"})
			w.fail("user_unknown")
			w.turn(6 * time.Second)
			w.turn(6 * time.Second)
			if len(files) != tt.files || len(w.store.(*fakeStore).notices) != 0 {
				t.Errorf("%d files, want %d; %d notices left", len(files), tt.files, len(w.store.(*fakeStore).notices))
			}
			var to []string
			for _, m := range w.stored() {
				for _, r := range m.Recipients {
					to = append(to, r.Address)
				}
				if m.Lane != tt.lane || !slices.Equal(stored, []string{tt.lane}) {
					t.Errorf("lane %q, told %q, want %q", m.Lane, stored, tt.lane)
				}
			}
			if !slices.Equal(to, tt.to) {
				t.Errorf("to %q, want %q", to, tt.to)
			}
		})
	}
}

// TestMaildirAfterCrash: a report that was written before the crash and not consumed is written under the same name.
func TestMaildirAfterCrash(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	names := map[string]bool{}
	w.o.Route = func(*relay.Message) relay.Route { return relay.Route{Maildir: "/bounces"} }
	w.o.File = func(_, id string, _ []byte) error {
		names[id] = true
		w.died.mu.Lock()
		defer w.died.mu.Unlock()
		w.died.dead = len(names) == 1 && !w.died.dead && w.odds == 1
		return nil
	}
	w.accept("app@example.com", relay.Recipient{Address: "a@x"})
	w.fail("user_unknown")
	w.restart()
	w.odds = 1
	w.turn(6 * time.Second)
	if len(w.store.(*fakeStore).notices) != 1 {
		t.Fatal("the crash did not happen")
	}
	w.settleDown()
	if len(names) != 1 || len(w.store.(*fakeStore).notices) != 0 {
		t.Errorf("names %v, %d notices left", names, len(w.store.(*fakeStore).notices))
	}
}

// TestRequeued: an operator who puts a failed recipient back before its report went out withdraws the report; one who
// does it later gets another one for the second failure.
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
	w.turn(6 * time.Second)
	if n := len(w.reports()); n != 0 {
		t.Fatalf("%d reports on a recipient that waits again", n)
	}
	once()
	w.turn(6 * time.Second)
	requeue(w, id)
	once()
	w.turn(6 * time.Second)
	if n := len(w.reports()); n != 2 {
		t.Errorf("%d reports on two failures", n)
	}
}

func TestNullSenderRefused(t *testing.T) {
	fallback := "bounces@example.com"
	w := newWorld(t, newFakeStore(), 1)
	w.o.FallbackSender = func(string) string { return fallback }
	w.restart()
	m := &relay.Message{Lane: "ses", Report: true}
	at := func(stage diagnose.Stage, reply string) relay.Attempt {
		return relay.Attempt{Stage: stage, Reply: diagnose.ParseReply(reply)}
	}
	if got := w.rep.ReversePath(m); got != "" {
		t.Fatalf("before any refusal: %q", got)
	}
	for _, a := range []relay.Attempt{
		at(diagnose.StageMail, "451 4.3.0 later\r\n"), at(diagnose.StageRcpt, "550 5.1.1 user unknown\r\n"), at(diagnose.StageEndOfData, "554 spam\r\n"),
	} {
		if w.rep.NullSenderRefused("ses", a) {
			t.Errorf("%s %q is taken for a refusal of the null sender", a.Stage, a.Reply.Raw)
		}
	}
	for lane, a := range map[string]relay.Attempt{
		"ses":     at(diagnose.StageMail, "501 Invalid MAIL FROM address provided\r\n"),
		"postfix": at(diagnose.StageRcpt, "550 5.7.1 <>: Sender address rejected: Access denied\r\n"),
	} {
		if !w.rep.NullSenderRefused(lane, a) {
			t.Errorf("%s: no fall-back", lane)
		}
	}
	if got := w.rep.ReversePath(m); got != fallback {
		t.Errorf("after the refusal: %q", got)
	}
	if got := w.rep.ReversePath(&relay.Message{Lane: "ses", Envelope: relay.Envelope{From: "app@example.com"}}); got != "app@example.com" {
		t.Errorf("another message: %q", got)
	}
	if got := w.rep.ReversePath(&relay.Message{Lane: "other", Report: true}); got != "" {
		t.Errorf("another upstream: %q", got)
	}
	w.now = w.now.Add(25 * time.Hour)
	if got := w.rep.ReversePath(m); got != "" {
		t.Errorf("a day later: %q", got)
	}
	fallback = ""
	if w.rep.NullSenderRefused("ses", at(diagnose.StageMail, "501 no\r\n")) || w.rep.ReversePath(m) != "" {
		t.Error("a fall-back that is not configured")
	}
}

// TestManyRecipients: no report has more recipients than an envelope.
func TestManyRecipients(t *testing.T) {
	w := newWorld(t, newFakeStore(), 1)
	var rs []relay.Recipient
	for i := range 250 {
		rs = append(rs, relay.Recipient{Address: fmt.Sprintf("r%d@x", i)})
	}
	w.accept("app@example.com", rs...)
	w.fail("user_unknown")
	w.turn(6 * time.Second)
	n := 0
	for _, x := range w.reports() {
		n += len(x.Recipients)
		if len(x.Recipients) > 100 {
			t.Errorf("a report on %d recipients", len(x.Recipients))
		}
	}
	if n != 250 || len(w.reports()) != 3 {
		t.Errorf("%d reports on %d recipients", len(w.reports()), n)
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
			return errors.New("no paper")
		}
		return nil
	}}
	w.accept("app@example.com", relay.Recipient{Address: "a@x"})
	w.fail("user_unknown")
	for range 3 {
		w.turn(time.Minute)
	}
	if len(w.reports()) != 0 || len(w.store.(*fakeStore).notices) != 1 {
		t.Fatal("a notice is lost or told")
	}
	broken = false
	w.turn(2 * time.Minute)
	if len(w.reports()) != 1 {
		t.Error("the notice is not told when it can be")
	}
}

// TestRealComposer joins reporter, composer and engine as serve does.
func TestRealComposer(t *testing.T) {
	w := newWorld(t, sqlite(t), 1)
	c, err := dsn.New(dsn.Options{Hostname: "relay.example.com", Key: []byte("k"), Log: w.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	w.o.Composer = c
	w.accept("app@example.com", relay.Recipient{Address: "a@x", Notify: relay.NotifySuccess | relay.NotifyFailure})
	w.fail("user_unknown")
	w.turn(6 * time.Second)
	ms := w.stored()
	if len(ms) != 1 || !dsn.IsOwn([]byte("k"), ms[0].MessageID) {
		t.Fatalf("%+v", ms)
	}
	rc, err := w.store.Content(context.Background(), ms[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil || !strings.Contains(string(b), "X-Mailwhy-Reason: user_unknown\r\n") || int64(len(b)) != ms[0].Size {
		t.Errorf("%v\n%s", err, b)
	}
}
