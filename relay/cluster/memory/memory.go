// Package memory is a coordination whose members live in one process: for tests with many relays, and the
// plainest form of what every engine must do.
package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/cluster/share"
)

// Errors of a member.
var (
	ErrAway = errors.New("the engine of the cluster does not answer") // the member is cut off
	ErrLeft = errors.New("the relay has left the cluster")
)

// Engine is what the members share. It is safe for concurrent use.
type Engine struct {
	deadAfter time.Duration

	mu       sync.Mutex
	members  map[string]*Member
	accounts map[string]*share.State
	duties   map[string]duty
	entries  map[string]entry
	changes  int64 // versions given so far
	joined   int
	watchers map[*watcher]bool
}

// duty is one that a member has, or had: its epochs rise.
type duty struct {
	holder string
	until  time.Time
	epoch  int64
}

// entry is an entry of the board, also one that was removed or has lapsed: its versions rise.
type entry struct {
	relay.BoardEntry
	at    time.Time
	until time.Time // zero: for good
}

// New makes an engine without members. A member is taken for dead so long after its last beat.
func New(deadAfter time.Duration) *Engine {
	return &Engine{deadAfter: deadAfter, members: map[string]*Member{}, accounts: map[string]*share.State{},
		duties: map[string]duty{}, entries: map[string]entry{}, watchers: map[*watcher]bool{}}
}

// Member is one relay's coordination. It has a beat at every moment, unless it is cut off.
type Member struct {
	e    *Engine
	self relay.Member
	cut  time.Time // since when it is; zero while it is not
	left bool
}

var _ relay.Coordination = (*Member)(nil)

// Join makes another member.
func (e *Engine) Join(host, version string) *Member {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.joined++
	m := &Member{e: e, self: relay.Member{ID: fmt.Sprintf("%s-%d", host, e.joined), Host: host,
		Version: version, Since: time.Now()}}
	e.members[m.self.ID] = m
	return m
}

// Cut takes the engine away from a member, or gives it back.
func (m *Member) Cut(away bool) {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	switch {
	case !away:
		m.cut = time.Time{}
		m.e.catchUp(m)
	case m.cut.IsZero():
		m.cut = time.Now()
	}
}

// Self implements relay.Coordination.
func (m *Member) Self() string { return m.self.ID }

// enter locks the engine for a call of a member, unless that cannot be answered.
func (m *Member) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.e.mu.Lock()
	err := error(nil)
	switch {
	case m.left:
		err = ErrLeft
	case !m.cut.IsZero():
		err = ErrAway
	}
	if err != nil {
		m.e.mu.Unlock()
	}
	return err
}

// died is share.Died. The caller holds mu.
func (e *Engine) died(id string) (time.Time, bool) {
	m := e.members[id]
	if m == nil || m.left {
		return time.Time{}, true
	}
	if m.cut.IsZero() {
		return time.Time{}, false
	}
	at := m.cut.Add(e.deadAfter)
	return at, !at.After(time.Now())
}

// Take implements relay.Shares.
func (m *Member) Take(ctx context.Context, q relay.ShareQuery) (relay.Share, error) {
	if err := m.enter(ctx); err != nil {
		return relay.Share{}, err
	}
	defer m.e.mu.Unlock()
	s := m.e.accounts[q.Account]
	if s == nil {
		s = &share.State{}
		m.e.accounts[q.Account] = s
	}
	now := time.Now()
	got := s.Take(now, m.self.ID, m.e.died, &q)
	if s.Forget(now, q.Per) {
		delete(m.e.accounts, q.Account)
	}
	got.Until = now.Add(m.e.deadAfter * 2 / 3)
	return got, nil
}

// Hold implements relay.Duties.
func (m *Member) Hold(ctx context.Context, name string, lasts time.Duration) (int64, bool, error) {
	if err := m.enter(ctx); err != nil {
		return 0, false, err
	}
	defer m.e.mu.Unlock()
	now := time.Now()
	d := m.e.duties[name]
	_, dead := m.e.died(d.holder)
	switch over := dead || !now.Before(d.until); {
	case !over && d.holder != m.self.ID:
		return 0, false, nil
	case over:
		d.holder, d.epoch = m.self.ID, d.epoch+1
	}
	d.until = now.Add(lasts)
	m.e.duties[name] = d
	return d.epoch, true, nil
}

// Drop implements relay.Duties.
func (m *Member) Drop(ctx context.Context, name string, epoch int64) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.e.mu.Unlock()
	if d := m.e.duties[name]; d.holder == m.self.ID && d.epoch == epoch {
		d.until = time.Time{}
		m.e.duties[name] = d
	}
	return nil
}

// Members implements relay.Coordination.
func (m *Member) Members(ctx context.Context) ([]relay.Member, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.e.mu.Unlock()
	var list []relay.Member
	for _, id := range slices.Sorted(maps.Keys(m.e.members)) {
		if _, dead := m.e.died(id); dead {
			continue
		}
		one := m.e.members[id]
		live := one.self
		if !one.cut.IsZero() {
			live.Beat = time.Since(one.cut)
		}
		live.Connections = map[string]int{}
		for name, s := range m.e.accounts {
			if u := s.Members[id]; u != nil {
				live.Connections[name] = u.Allowed
			}
		}
		list = append(list, live)
	}
	return list, nil
}

// Leave implements relay.Coordination.
func (m *Member) Leave(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.e.mu.Unlock()
	now := time.Now()
	for _, s := range m.e.accounts {
		s.Leave(now, m.self.ID)
	}
	m.left = true
	delete(m.e.members, m.self.ID)
	return nil
}

// Read implements relay.Board.
func (m *Member) Read(ctx context.Context, name string) (relay.BoardEntry, error) {
	if err := m.enter(ctx); err != nil {
		return relay.BoardEntry{}, err
	}
	defer m.e.mu.Unlock()
	return m.e.inForce(name), nil
}

// inForce is the entry of a name; one without a version if there is none. The caller holds mu.
func (e *Engine) inForce(name string) relay.BoardEntry {
	one, now := e.entries[name], time.Now()
	if len(one.Body) == 0 || one.lapsed(now) {
		return relay.BoardEntry{Name: name}
	}
	return one.told(now)
}

// lapsed reports whether the time of an entry is over.
func (one *entry) lapsed(now time.Time) bool { return !one.until.IsZero() && !now.Before(one.until) }

// told is an entry as it is told at some time.
func (one *entry) told(now time.Time) relay.BoardEntry {
	b := one.BoardEntry
	b.Age = now.Sub(one.at)
	if !one.until.IsZero() {
		b.Left = one.until.Sub(now)
	}
	return b
}

// Write implements relay.Board.
func (m *Member) Write(ctx context.Context, name string, old int64, body []byte, lasts time.Duration) (
	relay.BoardEntry, bool, error) {
	if err := m.enter(ctx); err != nil {
		return relay.BoardEntry{}, false, err
	}
	defer m.e.mu.Unlock()
	if was := m.e.inForce(name); old != relay.AnyVersion && was.Version != old {
		return was, false, nil
	}
	m.e.changes++
	one := entry{at: time.Now(), BoardEntry: relay.BoardEntry{Name: name, Version: m.e.changes,
		Body: slices.Clone(body), By: m.self.ID}}
	if lasts > 0 {
		one.until = one.at.Add(lasts)
	}
	m.e.entries[name] = one
	for w := range m.e.watchers {
		w.add(name)
	}
	return one.told(one.at), true, nil
}

// names are those of all entries that begin with prefix. The caller holds mu.
func (e *Engine) names(prefix string) (list []string) {
	for name := range e.entries {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	return list
}
