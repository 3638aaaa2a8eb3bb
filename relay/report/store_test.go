package report_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
	spool "mailwhy/relay/spool/sqlite"
)

// A reporter is tested against a store in memory that can crash at each of its steps, and against the real
// engine. The composer of these tests writes what it was asked for as JSON, so that what was reported, and
// how often, is read from the reports that the store holds in the end.

// store is what both engines are to the tests.
type store interface {
	relay.Outbox
	Put(ctx context.Context, ms []*relay.Message, content io.Reader) error
	Lease(ctx context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error)
	Settle(ctx context.Context, t relay.Token, s relay.Settlement) error
}

// fakeStore is a store in memory.
type fakeStore struct {
	mu       sync.Mutex
	messages map[string]*relay.Message
	contents map[string][]byte
	known    map[string]bool // ids that were ever stored
	entries  []relay.Entry
	claimed  map[relay.Token]bool
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		messages: map[string]*relay.Message{},
		contents: map[string][]byte{},
		known:    map[string]bool{},
		claimed:  map[relay.Token]bool{},
	}
}

func clone(m *relay.Message) *relay.Message {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	return &c
}

func (s *fakeStore) Put(_ context.Context, ms []*relay.Message, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range ms {
		s.put(m, b)
	}
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
	for _, e := range st.Owed {
		e.Message = string(t)
		s.entries = slices.DeleteFunc(s.entries,
			func(o relay.Entry) bool { return entryKey(o) == entryKey(e) })
		s.entries = append(s.entries, e)
	}
	if len(st.Owed) == 0 {
		s.tidy(map[string]bool{string(t): true})
	}
	return nil
}

// tidy removes those of the messages that nothing waits for.
func (s *fakeStore) tidy(ids map[string]bool) {
	for _, e := range s.entries {
		delete(ids, e.Message)
	}
	for id := range ids {
		m := s.messages[id]
		if m != nil &&
			!slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return !r.State.Final() }) {
			delete(s.messages, id)
		}
	}
}

// Claim hands out what is due. Nobody else uses the store, so a claim only has to keep a message from being
// handed out twice.
func (s *fakeStore) Claim(_ context.Context, q relay.ClaimQuery) (due []relay.Claim, next time.Time,
	err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := map[string][]relay.Entry{}
	first := map[string]time.Time{}
	for _, e := range s.entries {
		e.Claim = relay.Token(e.Message)
		of[e.Message] = append(of[e.Message], e)
		if f, ok := first[e.Message]; !ok || e.Due.Before(f) {
			first[e.Message] = e.Due
		}
	}
	ids := slices.SortedFunc(maps.Keys(first), func(a, b string) int {
		return cmp.Or(first[a].Compare(first[b]), strings.Compare(a, b))
	})
	for _, id := range ids {
		if s.claimed[relay.Token(id)] {
			continue
		}
		if first[id].After(q.Now) || len(due) == q.Max {
			return due, first[id], nil
		}
		s.claimed[relay.Token(id)] = true
		due = append(due, relay.Claim{Token: relay.Token(id), Message: clone(s.messages[id]),
			Entries: of[id]})
	}
	return due, time.Time{}, nil
}

func (s *fakeStore) GiveBack(claims ...relay.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range claims {
		delete(s.claimed, t)
	}
}

// entryKey is what an entry is known by; all are of one topic.
func entryKey(e relay.Entry) string { return e.Message + " " + e.Key }

func (s *fakeStore) Consume(_ context.Context, a relay.Answer) error {
	var b []byte
	if len(a.Messages) > 0 {
		var err error
		if b, err = io.ReadAll(a.Content); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone, of := map[string]bool{}, map[string]bool{}
	for _, e := range a.Entries {
		of[e.Message], gone[entryKey(e)] = true, true
	}
	s.entries = slices.DeleteFunc(s.entries, func(e relay.Entry) bool { return gone[entryKey(e)] })
	for _, m := range a.Messages {
		s.put(m, b)
	}
	s.tidy(of)
	return nil
}

func (s *fakeStore) Postpone(_ context.Context, entries []relay.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := map[string]relay.Entry{}
	for _, e := range entries {
		to[entryKey(e)] = e
	}
	for i, e := range s.entries {
		if p, ok := to[entryKey(e)]; ok {
			s.entries[i] = p
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

// crashing is a store whose process dies at a random step: before a transaction, or after it and before its
// caller hears of it. From then on nothing works.
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

func (c *crashing) Claim(ctx context.Context, q relay.ClaimQuery) (due []relay.Claim, next time.Time,
	err error) {
	err = c.step(func() error {
		due, next, err = c.store.Claim(ctx, q)
		return err
	})
	return due, next, err
}

func (c *crashing) Consume(ctx context.Context, a relay.Answer) error {
	return c.step(func() error { return c.store.Consume(ctx, a) })
}

func (c *crashing) Postpone(ctx context.Context, entries []relay.Entry) error {
	return c.step(func() error { return c.store.Postpone(ctx, entries) })
}

// diskStore is the real engine.
type diskStore struct {
	*spool.Spool
	t     *testing.T
	dir   string
	close func()
}

// openDisk opens the engine on a directory; now is what its wall clock says meanwhile.
func openDisk(t *testing.T, dir string, now time.Time) *diskStore {
	t.Helper()
	s, err := spool.Open(spool.Options{
		Dir:      dir,
		Log:      slog.New(slog.DiscardHandler),
		MaxDelay: 10000 * time.Hour,
		Now:      func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &diskStore{s, t, dir, sync.OnceFunc(func() { s.Close() })}
	t.Cleanup(d.close)
	return d
}

func sqlite(t *testing.T) *diskStore {
	t.Helper()
	return openDisk(t, t.TempDir(), worldBegins)
}

// afterKill is the store that a process finds after a kill -9 of this one: its files as they stand, and no
// clean end.
func (s *diskStore) afterKill(now time.Time) *diskStore {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	s.close()
	return openDisk(s.t, dir, now)
}
