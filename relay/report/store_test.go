package report_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
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
	return &fakeStore{
		messages: map[string]*relay.Message{},
		contents: map[string][]byte{},
		known:    map[string]bool{},
	}
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
		if m != nil &&
			!slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool { return !r.State.Final() }) {
			delete(s.messages, id)
		}
	}
}

func (s *fakeStore) DueNotices(_ context.Context, now time.Time, max int,
	skip func(string) bool) (due []relay.Notices, next time.Time, err error) {
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
		if skip != nil && skip(id) {
			continue
		}
		if first[id].After(now) || len(due) == max {
			return due, first[id], nil
		}
		due = append(due, relay.Notices{Message: clone(s.messages[id]), Notices: of[id]})
	}
	return due, time.Time{}, nil
}

func (s *fakeStore) Report(_ context.Context, consumed []relay.Notice, m *relay.Message,
	content io.Reader) error {
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

func (c *crashing) DueNotices(ctx context.Context, now time.Time, max int,
	skip func(string) bool) (due []relay.Notices, next time.Time, err error) {
	err = c.step(func() error {
		due, next, err = c.store.DueNotices(ctx, now, max, skip)
		return err
	})
	return due, next, err
}

func (c *crashing) Report(ctx context.Context, consumed []relay.Notice, m *relay.Message,
	content io.Reader) error {
	return c.step(func() error { return c.store.Report(ctx, consumed, m, content) })
}

func (c *crashing) Postpone(ctx context.Context, notices []relay.Notice) error {
	return c.step(func() error { return c.store.Postpone(ctx, notices) })
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
