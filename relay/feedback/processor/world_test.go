package processor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/feedback"
	"mailwhy/relay/feedback/recall"
)

// fakeSpool is a spool in memory, as far as the processor and the store ask it.
type fakeSpool struct {
	mu       sync.Mutex
	messages map[string]*relay.Message
	owed     []relay.Entry
	reports  []*relay.Message
	leased   bool // Edit waits until its context ends
}

func clone(m *relay.Message) *relay.Message {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	return &c
}

// aroundPut is the key of a function that Put calls before and after it stores.
type aroundPut struct{}

func (s *fakeSpool) Put(ctx context.Context, ms []*relay.Message, content io.Reader) error {
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if around, ok := ctx.Value(aroundPut{}).(func()); ok {
		around()
		defer around()
	}
	for _, m := range ms {
		if !slices.ContainsFunc(s.reports, func(o *relay.Message) bool { return o.ID == m.ID }) {
			s.reports = append(s.reports, clone(m))
		}
	}
	return nil
}

func (s *fakeSpool) List(_ context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.messages {
		if slices.Contains(f.IDs, id) || slices.Contains(f.IDs, m.MailID()) {
			if !each(clone(m)) {
				break
			}
		}
	}
	return nil
}

func (s *fakeSpool) Stat(context.Context) (relay.SpoolStat, error) { return relay.SpoolStat{}, nil }

func (s *fakeSpool) Reroute(context.Context, []string, string) (int64, error) { return 0, nil }

func (s *fakeSpool) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	s.mu.Lock()
	leased := s.leased
	s.mu.Unlock()
	if leased {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return relay.ErrNotFound
	}
	settlement, _, err := change(clone(m))
	if err != nil {
		return err
	}
	m.Recipients = settlement.Recipients
	s.owed = append(s.owed, settlement.Owed...)
	if !slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return !r.State.Final() }) {
		delete(s.messages, id)
	}
	return nil
}

// begins is when the tests begin.
var begins = time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)

// world is a processor with all around it and a clock.
type world struct {
	t      testing.TB
	dir    string
	spool  *fakeSpool
	store  *recall.Store
	p      *Processor
	source map[string]Source

	mu       sync.Mutex
	now      time.Time
	settings Settings
	events   []relay.Event
	counted  []Counted
	meaning  func(diagnose.Symptom) diagnose.Diagnosis
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, dir: t.TempDir(), now: begins, settings: Settings{Notice: NoticeAuto, Delivered: true},
		spool: &fakeSpool{messages: map[string]*relay.Message{}},
	}
	w.source = map[string]Source{
		"hook":    {Read: decodeEvents, Proven: true},
		"bounces": {Read: decodeEvents},
		"mailbox": {Read: decodeEvents, SenderHas: true},
	}
	w.meaning = func(s diagnose.Symptom) diagnose.Diagnosis {
		return diagnose.Diagnosis{Category: diagnose.InvalidAddress, Reason: "user_unknown"}
	}
	w.open()
	return w
}

// decodeEvents is the reader of the tests: a report's body is the JSON of its events.
func decodeEvents(raw *feedback.Raw) (events []feedback.Event, err error) {
	if string(raw.Body) == "panic" {
		panic("as the test asks")
	}
	return events, json.Unmarshal(raw.Body, &events)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// Record implements relay.Recorder.
func (w *world) Record(e relay.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// open opens the store and makes a processor, as at a start of the relay.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.store, err = recall.Open(recall.Options{
		Path: filepath.Join(w.dir, "feedback.db"), Spool: w.spool, Log: slog.New(slog.DiscardHandler),
		Now: w.clock,
		Limits: func() recall.Limits {
			return recall.Limits{Remember: 14 * 24 * time.Hour, MaxMessages: 1e6, KeepRaw: 7 * 24 * time.Hour,
				MaxReports: 1e5, MaxBytes: 1 << 30}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	store := w.store
	w.t.Cleanup(func() { store.Close() })
	w.p = New(Options{
		Store: w.store, Spool: w.spool, Record: w, Log: slog.New(slog.DiscardHandler), Now: w.clock,
		Source:   func(name string) (Source, bool) { s, ok := w.source[name]; return s, ok },
		Settings: func() Settings { w.mu.Lock(); defer w.mu.Unlock(); return w.settings },
		Diagnose: func(s diagnose.Symptom) diagnose.Diagnosis { return w.meaning(s) },
		Count:    func(c Counted) { w.counted = append(w.counted, c) },
	})
}

// restart closes the store and opens it again.
func (w *world) restart() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// copyFiles copies the store's files as they are, which is what a kill -9 leaves of them.
func (w *world) copyFiles() (dir string) {
	w.t.Helper()
	dir = w.t.TempDir()
	for _, name := range []string{"feedback.db", "feedback.db-wal"} {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// kill goes on with what the files in dir hold.
func (w *world) kill(dir string) {
	w.t.Helper()
	old := w.store
	w.dir = dir
	w.open()
	if err := old.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// relayed makes a message that was relayed an hour ago, and remembers it.
func (w *world) relayed(change func(*relay.Message), recipients ...string) *relay.Message {
	w.t.Helper()
	m := w.message(recipients...)
	for i := range m.Recipients {
		m.Recipients[i].State = relay.Relayed
		m.Recipients[i].Last = &relay.Attempt{
			Time: m.Arrived, Upstream: m.Lane, Host: "smtp.provider.example", Stage: diagnose.StageEndOfData,
			UpstreamID: "up-" + m.ID,
		}
	}
	if change != nil {
		change(m)
	}
	w.remember(m)
	return m
}

func (w *world) remember(m *relay.Message) {
	w.t.Helper()
	w.store.Relayed(m)
	if err := w.store.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// message makes a message that arrived an hour ago.
func (w *world) message(recipients ...string) *relay.Message {
	at := w.clock().Add(-time.Hour)
	m := &relay.Message{
		ID: relay.NewID(at), Lane: "default", Arrived: at, Envelope: relay.Envelope{From: "app@shop.example"},
		HeaderFrom: "shop.example",
	}
	m.MessageID = "<" + m.ID + "@shop.example>"
	for _, r := range recipients {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: r, State: relay.Queued, NextAttempt: at})
	}
	return m
}

// bounced is an event about a message, with a key.
func (w *world) bounced(id string, recipient string, keys ...feedback.Key) feedback.Event {
	return feedback.Event{
		Source: feedback.SourceWebhook, Provider: "ses", ID: id, Kind: feedback.KindBounced,
		Time: w.clock().Add(-time.Minute), Recipient: recipient, Keys: keys, Reply: "550 5.1.1 unknown",
		Type: "Permanent", Class: "General", Host: "mx.x.example",
	}
}

// comes journals a report of events.
func (w *world) comes(source string, events ...feedback.Event) {
	w.t.Helper()
	body, err := json.Marshal(events)
	if err != nil {
		w.t.Fatal(err)
	}
	w.journal(&feedback.Raw{Source: source, Provider: "ses", Time: w.clock(), Body: body})
}

func (w *world) journal(raw *feedback.Raw) {
	w.t.Helper()
	if err := w.store.Append(w.t.Context(), raw); err != nil {
		w.t.Fatal(err)
	}
}

// round lets the processor work on what is due.
func (w *world) round() {
	w.p.round(context.Background())
	if err := w.store.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// rounds lets time pass until what waits was tried often enough.
func (w *world) rounds() {
	for range 40 {
		w.round()
		w.pass(time.Hour)
	}
}

// owed is how many notices the store owes.
func (w *world) owed() (n int) {
	w.t.Helper()
	claims, _, err := w.store.Claim(w.t.Context(), relay.ClaimQuery{
		Topic: relay.TopicReport, Now: w.clock().Add(time.Hour), Max: 1000, For: time.Minute,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range claims {
		n += len(c.Entries)
		w.store.GiveBack(c.Token)
	}
	return n
}

// recorded are the events of a kind that were recorded.
func (w *world) recorded(kind relay.EventKind) (list []relay.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// counts are how many reports had each result.
func (w *world) counts() map[Result]int {
	n := map[Result]int{}
	for _, c := range w.counted {
		n[c.Result]++
	}
	return n
}

// state is the state of the first recipient of a message.
func (w *world) state(m *relay.Message) feedback.State {
	w.t.Helper()
	found, err := w.store.Remembered(w.t.Context(), m.ID)
	if errors.Is(err, relay.ErrNotFound) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return found[0].States[0]
}

func queueID(m *relay.Message) feedback.Key {
	return feedback.Key{Kind: feedback.KeyQueueID, Value: m.ID}
}
