package postgres

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/postgres/database"
	"mailwhy/relay/spool/queue"
)

// owned is a message that is leased to this process in the database. It waits in its lane to be handed out,
// or somebody has it under a token.
type owned struct {
	row        *database.Row  // as it is stored, with its content if that is at hand
	m          *relay.Message // to be handed out the first time; nil: the row is decoded
	recipients int
	inc        *incarnation
	since      time.Time // it waits in its lane

	token    relay.Token   // "" while it waits
	deadline time.Time     // monotonic; zero is none
	settling bool          // it is being written: the lease lapses no more
	ended    chan struct{} // closed when the lease is
}

// weight is about what a message takes in memory.
func (o *owned) weight() int64 {
	return int64(len(o.row.Data)+len(o.row.Head)+2*len(o.row.Recipients)) + 1024
}

// lane is what is known of a lane here.
type lane struct {
	name  string
	busy  chan struct{} // held by the one caller that leases
	fair  *queue.Fair
	ready []*owned  // in the order of their turns
	bytes int64     // of ready
	next  int64     // nothing that others could have is due before, in the database; 0: not known
	asked time.Time // when mail was last asked for
}

// memory is the mail that this process has leased in the database. It is safe for concurrent use.
type memory struct {
	o Options

	mu      sync.Mutex
	lanes   map[string]*lane
	byID    map[string]*owned
	byToken map[relay.Token]*owned
	tokens  uint64
	sweepAt time.Time
	gone    *queue.Recent
}

func newMemory(o Options) *memory {
	m := &memory{o: o, gone: queue.NewRecent(queue.RecentMax)}
	m.clear()
	return m
}

func (m *memory) clear() {
	m.lanes, m.byID, m.byToken = map[string]*lane{}, map[string]*owned{}, map[relay.Token]*owned{}
}

// reset ends all leases, when this process was taken over or the spool is closed.
func (m *memory) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.byToken {
		close(o.ended)
	}
	for _, l := range m.lanes {
		l.ready, l.bytes, l.next = nil, 0, 0
	}
	m.byID, m.byToken = map[string]*owned{}, map[relay.Token]*owned{}
}

// lane returns the lane of a name. m.mu is held.
func (m *memory) lane(name string) *lane {
	l := m.lanes[name]
	if l == nil {
		l = &lane{name: name, busy: make(chan struct{}, 1), fair: queue.NewFair()}
		m.lanes[name] = l
	}
	return l
}

// keepFor is how long after a lane was asked for mail new mail is kept for it, and maxReady how much of it.
const (
	keepFor  = 10 * time.Second
	maxReady = 1024
)

// giveTurn gives a record its turn, if it is due, and says whether its lane keeps up: then the message is
// to be leased to this process from its first moment on.
func (m *memory) giveTurn(r *spool.Record) (keepsUp bool) {
	now := spool.Nanos(m.o.Now())
	if r.Slot = 0; r.Due > now {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lane(r.Lane)
	r.Slot = l.fair.Next(r.Sender)
	return l.next > now && time.Since(l.asked) < keepFor && len(l.ready) < maxReady && l.bytes < m.o.Memory
}

// due notes that a message of a lane is due at a time in the database, for anybody.
func (m *memory) due(name string, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lane(name)
	l.next = min(l.next, at)
}

// hasGone reports whether the message of an id was removed here lately.
func (m *memory) hasGone(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone.Has(id)
}

// arrive takes in a message that is leased to this process.
func (m *memory) arrive(o *owned) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID[o.row.ID] == nil {
		m.byID[o.row.ID] = o
		m.wait(o)
	}
}

// wait puts a message into its lane. m.mu is held.
func (m *memory) wait(o *owned) {
	l := m.lane(o.row.Lane)
	o.token, o.since = "", time.Now()
	at := len(l.ready)
	for at > 0 && o.row.Slot < l.ready[at-1].row.Slot {
		at--
	}
	l.ready = slices.Insert(l.ready, at, o)
	l.bytes += o.weight()
}

// takeOut takes a message out of its lane. m.mu is held.
func (m *memory) takeOut(o *owned) {
	l := m.lane(o.row.Lane)
	if i := slices.Index(l.ready, o); i >= 0 {
		l.ready = slices.Delete(l.ready, i, i+1)
		l.bytes -= o.weight()
	}
}

// granted is a message that was handed out.
type granted struct {
	o     *owned
	token relay.Token
	m     *relay.Message // nil: the row is to be decoded
}

// grant leases a message that waits in no lane. m.mu is held.
func (m *memory) grant(o *owned, deadline time.Time) granted {
	m.tokens++
	o.token = relay.Token(strconv.FormatUint(m.tokens, 36) + "-" + o.row.ID)
	o.deadline, o.settling, o.ended = deadline, false, make(chan struct{})
	m.byID[o.row.ID], m.byToken[o.token] = o, o
	if !deadline.IsZero() && (m.sweepAt.IsZero() || deadline.Before(m.sweepAt)) {
		m.sweepAt = deadline
	}
	m.lane(o.row.Lane).fair.Leased(o.row.Slot)
	g := granted{o, o.token, o.m}
	o.m = nil
	return g
}

// lapse ends the leases whose deadline has passed. m.mu is held.
func (m *memory) lapse(now time.Time) {
	if m.sweepAt.IsZero() || now.Before(m.sweepAt) {
		return
	}
	m.sweepAt = time.Time{}
	for _, o := range m.byToken {
		switch {
		case o.settling || o.deadline.IsZero():
		case !now.Before(o.deadline):
			m.o.Log.Warn("a lease lapsed", "id", o.row.ID, "lane", o.row.Lane)
			m.endLease(o)
			m.wait(o)
		case m.sweepAt.IsZero() || o.deadline.Before(m.sweepAt):
			m.sweepAt = o.deadline
		}
	}
}

// endLease ends a lease; the message stays this process's. m.mu is held.
func (m *memory) endLease(o *owned) {
	delete(m.byToken, o.token)
	o.token, o.settling = "", false
	close(o.ended)
}

// current returns the lease of a token that is not being settled. m.mu is held.
func (m *memory) current(t relay.Token) (*owned, error) {
	m.lapse(time.Now())
	o := m.byToken[t]
	if o == nil || o.settling {
		return nil, relay.ErrStaleLease
	}
	return o, nil
}

// beginSettle returns the lease of a token, which lapses no more until it is settled or abandoned.
func (m *memory) beginSettle(t relay.Token) (*owned, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.current(t)
	if err == nil {
		o.settling = true
	}
	return o, err
}

// abandonSettle takes back that a lease is being settled.
func (m *memory) abandonSettle(o *owned) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.settling = false
}

// endSettle ends a lease whose settlement is durable; the message is not this process's any more.
func (m *memory) endSettle(o *owned, removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID[o.row.ID] != o {
		return // this process was taken over meanwhile
	}
	m.endLease(o)
	delete(m.byID, o.row.ID)
	if removed {
		m.gone.Add(o.row.ID)
	}
}

// content is that of a message that is at hand. It must not be written to.
func (m *memory) content(id string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.byID[id]
	if o == nil || o.row.Data == nil {
		return nil, false
	}
	return o.row.Data, true
}

// ready is how many messages wait for being handed out.
func (m *memory) ready() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lanes {
		n += int64(len(l.ready))
	}
	return n
}

// names are those of the lanes that were asked for mail.
func (m *memory) names() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, l := range m.lanes {
		if !l.asked.IsZero() {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// arrived notes that something is due in a lane for anybody, and reports whether that is news.
func (m *memory) arrived(name string, now int64) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lane(name)
	news = l.next > now
	l.next = min(l.next, now)
	return news
}

// takeIdle takes out the messages that have waited for longer than d, or all that are in lanes which the
// function names, to be given back. They are leased until then, by nobody.
func (m *memory) takeIdle(d time.Duration, all func(lane string) bool) (idle []*owned) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lapse(time.Now())
	for _, l := range m.lanes {
		for _, o := range l.ready {
			if time.Since(o.since) > d || all(l.name) {
				idle = append(idle, o)
			}
		}
	}
	for _, o := range idle {
		m.takeOut(o)
		m.grant(o, time.Time{})
		o.settling = true
	}
	return idle
}
