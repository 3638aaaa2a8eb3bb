package lane

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailwhy/relay"
)

// memSpool is a Spool in memory for the tests of the engine's timing.
type memSpool struct {
	mu       sync.Mutex
	messages map[string]*relay.Message
	order    []string // the ids as they were put
	contents map[string][]byte
	leased   map[relay.Token]string
	until    map[relay.Token]time.Time
	notices  []relay.Notice
	tokens   int
	settled  int
	editErr  error // what Edit returns instead of storing
}

func newMemSpool() *memSpool {
	return &memSpool{
		messages: map[string]*relay.Message{},
		contents: map[string][]byte{},
		leased:   map[relay.Token]string{},
		until:    map[relay.Token]time.Time{},
	}
}

func clone(m *relay.Message) *relay.Message {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	return &c
}

func (s *memSpool) Put(_ context.Context, ms []*relay.Message, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range ms {
		m.Size = int64(len(b))
		if s.messages[m.ID] == nil {
			s.order = append(s.order, m.ID)
		}
		s.messages[m.ID] = clone(m)
		s.contents[m.ID] = b
	}
	return nil
}

func (s *memSpool) Lease(_ context.Context, q relay.LeaseQuery) ([]relay.Lease, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := map[string]bool{}
	for t, id := range s.leased {
		held[id] = held[id] || q.Now.Before(s.until[t])
	}
	type waiting struct {
		id  string
		due time.Time
	}
	var now []waiting // those that are due; only these are put in order: a test has thousands that are not
	var next time.Time
	for _, id := range s.order {
		m := s.messages[id]
		if m.Lane != q.Lane || held[id] || !waits(m) {
			continue
		}
		if due := s.due(id); !due.After(q.Now) {
			now = append(now, waiting{id, due})
		} else if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	slices.SortFunc(now, func(a, b waiting) int {
		return cmp.Or(a.due.Compare(b.due), strings.Compare(a.id, b.id))
	})
	var out []relay.Lease
	for _, w := range now {
		if len(out) == q.Max {
			return out, w.due, nil
		}
		s.tokens++
		t := relay.Token(strconv.Itoa(s.tokens))
		s.leased[t], s.until[t] = w.id, q.Now.Add(q.For)
		out = append(out, relay.Lease{Token: t, Message: clone(s.messages[w.id])})
	}
	return out, next, nil
}

func (s *memSpool) due(id string) time.Time {
	var due time.Time
	for _, r := range s.messages[id].Recipients {
		if r.Waiting() && (due.IsZero() || r.NextAttempt.Before(due)) {
			due = r.NextAttempt
		}
	}
	return due
}

func (s *memSpool) Extend(_ context.Context, t relay.Token, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.leased[t]; !ok {
		return relay.ErrStaleLease
	}
	s.until[t] = time.Now().Add(d)
	return nil
}

func (s *memSpool) Content(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.contents[id]
	if !ok {
		return nil, relay.ErrCorrupt
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *memSpool) Settle(_ context.Context, t relay.Token, st relay.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.leased[t]
	if !ok {
		return relay.ErrStaleLease
	}
	delete(s.leased, t)
	s.settled++
	s.apply(id, st)
	return nil
}

func (s *memSpool) apply(id string, st relay.Settlement) {
	s.messages[id].Recipients = slices.Clone(st.Recipients)
	for _, e := range st.Owed {
		n, err := relay.NoticeOf(e)
		if err != nil {
			panic(err)
		}
		s.notices = append(s.notices, n)
	}
	if st.Lane != "" {
		s.messages[id].Lane = st.Lane
	}
}

func (s *memSpool) Release(t relay.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leased, t)
	return nil
}

func (s *memSpool) List(_ context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	s.mu.Lock()
	var found []*relay.Message
	for _, m := range s.messages {
		old := f.OlderThan.IsZero() || m.Arrived.Before(f.OlderThan)
		if old && m.ID > f.After && (f.Lane == "" || m.Lane == f.Lane) && (!f.Waiting || waits(m)) {
			found = append(found, clone(m))
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b *relay.Message) int { return strings.Compare(a.ID, b.ID) })
	for i, m := range found {
		if f.Limit > 0 && i == f.Limit || !each(m) {
			break
		}
	}
	return nil
}

func (s *memSpool) Stat(context.Context) (relay.SpoolStat, error) { return relay.SpoolStat{}, nil }

func (s *memSpool) Edit(_ context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.messages[id]
	if !ok {
		return relay.ErrNotFound
	}
	st, _, err := change(clone(m))
	if err == nil {
		err = s.editErr
	}
	if err == nil {
		s.apply(id, st)
	}
	return err
}

func (s *memSpool) Reroute(context.Context, []string, string) (int64, error) { return 0, nil }

// states counts the recipients by state.
func (s *memSpool) states() map[relay.State]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[relay.State]int{}
	for _, m := range s.messages {
		for _, r := range m.Recipients {
			n[r.State]++
		}
	}
	return n
}

// recipient is the state of the i-th recipient of message id.
func (s *memSpool) recipient(id string, i int) relay.Recipient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[id].Recipients[i]
}

// owed are the notices that settlements left.
func (s *memSpool) owed() []relay.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notices)
}

// waits reports whether any recipient is still to be tried.
func waits(m *relay.Message) bool {
	for i := range m.Recipients {
		if m.Recipients[i].Waiting() {
			return true
		}
	}
	return false
}
