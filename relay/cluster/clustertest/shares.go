package clustertest

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/relay"
)

// crew are members that work in earnest: each has as much mail as it may send, over as many connections.
type crew struct {
	limit    relay.ShareQuery
	took     time.Duration // by an exchange
	open     atomic.Int64  // connections of all
	mostOpen atomic.Int64
	mu       sync.Mutex
	begun    []time.Time
	works    sync.WaitGroup
}

// hand is one of them.
type hand struct {
	crew    *crew
	c       relay.Coordination
	held    []time.Time // when the exchange on each connection ends; zero for an idle one
	granted int
	ended   int64
	sent    atomic.Int64
}

// start has a member work until ctx ends. It then closes its connections, and takes leave if it can.
func (cr *crew) start(ctx context.Context, c relay.Coordination) *hand {
	h := &hand{crew: cr, c: c}
	cr.works.Go(func() { h.work(ctx) })
	return h
}

func (h *hand) work(ctx context.Context) {
	var next, until time.Time
	may := 0
	for ctx.Err() == nil {
		now := time.Now()
		asks := h.end(now, may)
		if asks || !now.Before(next) {
			s, err := h.c.Take(ctx, h.query(true))
			if err != nil {
				next = now.Add(50 * time.Millisecond)
			} else {
				may, until, next = s.Connections, s.Until, time.Now().Add(s.Again)
				h.granted += s.Messages
			}
		}
		if time.Now().Before(until) {
			h.begin(may)
		} else {
			may, h.granted = 0, 0
		}
		time.Sleep(time.Millisecond)
	}
	h.end(time.Now().Add(h.crew.took), 0)
	h.granted = 0
	h.c.Take(context.Background(), h.query(false))
}

// query is what the member asks for.
func (h *hand) query(busy bool) relay.ShareQuery {
	q := h.crew.limit
	q.Held, q.Ended, q.Begun = len(h.held), h.ended, h.granted
	for _, end := range h.held {
		if !end.IsZero() {
			q.Begun++
		}
	}
	if busy {
		q.Wanted, q.Ask = q.Connections, q.Connections
	}
	return q
}

// end ends the exchanges that are over and closes what the member may no longer have. It reports whether
// something changed.
func (h *hand) end(now time.Time, may int) (changed bool) {
	for i := range h.held {
		if end := h.held[i]; !end.IsZero() && !now.Before(end) {
			h.held[i], changed = time.Time{}, true
			h.ended++
		}
	}
	for i := len(h.held) - 1; i >= 0 && len(h.held) > may; i-- {
		if h.held[i].IsZero() {
			h.held, changed = slices.Delete(h.held, i, i+1), true
			h.crew.open.Add(-1)
		}
	}
	return changed
}

// begin begins what may begin.
func (h *hand) begin(may int) {
	for h.granted > 0 {
		i := slices.IndexFunc(h.held, time.Time.IsZero)
		if i < 0 {
			if len(h.held) >= may {
				return
			}
			i, h.held = len(h.held), append(h.held, time.Time{})
			if n := h.crew.open.Add(1); n > h.crew.mostOpen.Load() {
				h.crew.mostOpen.Store(n)
			}
		}
		h.held[i] = time.Now().Add(h.crew.took)
		h.granted--
		h.sent.Add(1)
		h.crew.mu.Lock()
		h.crew.begun = append(h.crew.begun, time.Now())
		h.crew.mu.Unlock()
	}
}

// stop waits for the members whose context has ended.
func (cr *crew) stop(cancel func()) {
	cancel()
	cr.works.Wait()
}

// mostWithin is the most messages that began within a span.
func (cr *crew) mostWithin(span time.Duration) (most int) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	slices.SortFunc(cr.begun, time.Time.Compare)
	from := 0
	for i := range cr.begun {
		for cr.begun[i].Sub(cr.begun[from]) >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// sentEach waits until each hand has sent n messages.
func sentEach(t *testing.T, n int64, hands ...*hand) {
	t.Helper()
	for _, h := range hands {
		waitFor(t, "a member has sent its messages", func() bool { return h.sent.Load() >= n })
	}
}

// connections: members that come, work and go never have more of them than allowed, and none goes short.
func connections(t *testing.T, e Engine) {
	cr := &crew{limit: relay.ShareQuery{Account: "a", Connections: 3}, took: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	defer cr.stop(cancel)
	var hands []*hand
	for _, c := range e.join(3) {
		hands = append(hands, cr.start(ctx, c))
		sentEach(t, 20, hands...)
	}
	few, cancelFew := context.WithCancel(ctx)
	late := cr.start(few, e.Join())
	sentEach(t, 10, late)
	cancelFew()
	for _, h := range hands {
		before := h.sent.Load()
		waitFor(t, "the work goes on", func() bool { return h.sent.Load() > before+20 })
	}
	cr.stop(cancel)
	if n := cr.mostOpen.Load(); n > 3 {
		t.Errorf("there were %d connections, 3 are allowed", n)
	}
}

// connectionsOfTheDead: what a dead member had goes to the others, but not while it may live.
func connectionsOfTheDead(t *testing.T, e Engine) {
	list := e.join(2)
	q := relay.ShareQuery{Account: "a", Connections: 2, Wanted: 2, Held: 2}
	take(t, list[0], q)
	e.Cut(list[0], true)
	cut := time.Now()
	q.Held = 0
	waitFor(t, "the other has all connections", func() bool {
		s := take(t, list[1], q)
		q.Held = s.Connections
		return s.Connections == 2
	})
	// Its last beat may have been a third of that before the cut.
	if since := time.Since(cut); since < e.DeadAfter/2 {
		t.Errorf("the other had them after %v, %v are needed to take a member for dead", since, e.DeadAfter)
	}
}

// evenParts: one that has all gives its part up as it is told to, and keeps the rest.
func evenParts(t *testing.T, e Engine) {
	list := e.join(2)
	q := relay.ShareQuery{Account: "a", Connections: 4, Wanted: 9}
	if s := take(t, list[0], q); s.Connections != 4 {
		t.Fatalf("a member alone gets %d connections", s.Connections)
	}
	first := q
	first.Held = 4
	if s := take(t, list[1], q); s.Connections != 0 {
		t.Errorf("the second gets %d connections while the first has all", s.Connections)
	}
	s := take(t, list[0], first)
	if s.Connections != 2 {
		t.Errorf("the first is left %d connections", s.Connections)
	}
	if s := take(t, list[1], q); s.Connections != 0 {
		t.Errorf("the second gets %d connections while the first holds all", s.Connections)
	}
	first.Held = s.Connections
	take(t, list[0], first)
	if s := take(t, list[1], q); s.Connections != 2 {
		t.Errorf("the second gets %d connections", s.Connections)
	}
	first.Wanted, first.Held = 0, 2 // idle: they go to who wants them
	if s := take(t, list[0], first); s.Connections != 0 {
		t.Errorf("the first may keep %d idle connections that another wants", s.Connections)
	}
}

// turns: of one connection each has its time.
func turns(t *testing.T, e Engine) {
	cr := &crew{limit: relay.ShareQuery{Account: "a", Connections: 1}, took: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	defer cr.stop(cancel)
	var hands []*hand
	for _, c := range e.join(3) {
		hands = append(hands, cr.start(ctx, c))
	}
	sentEach(t, 10, hands...)
	cr.stop(cancel)
	if n := cr.mostOpen.Load(); n > 1 {
		t.Errorf("there were %d connections, one is allowed", n)
	}
}

// exactRate: within no span are more than allowed, though one is killed meanwhile, and most of it is used.
func exactRate(t *testing.T, e Engine) {
	const most, per = 8, 2 * time.Second
	cr := &crew{took: 20 * time.Millisecond, limit: relay.ShareQuery{
		Account: "a", Connections: 3, Messages: most, Per: per, Exact: true}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cr.stop(cancel)
	list := e.join(4)
	var hands []*hand
	for _, c := range list {
		hands = append(hands, cr.start(ctx, c))
	}
	count := func() int {
		cr.mu.Lock()
		defer cr.mu.Unlock()
		return len(cr.begun)
	}
	waitFor(t, "the first messages are sent", func() bool { return count() > most })
	e.Cut(list[3], true)
	from := count()
	waitFor(t, "the others go on", func() bool { return count() >= from+2*most })
	sentEach(t, 1, hands[:3]...)
	cr.stop(cancel)
	if n := cr.mostWithin(per); n > most {
		t.Errorf("%d messages began within %v, %d are allowed", n, per, most)
	}
	if n := cr.mostOpen.Load(); n > 3 {
		t.Errorf("there were %d connections, 3 are allowed", n)
	}
}

// bucket: a rate a second is kept over the whole time.
func bucket(t *testing.T, e Engine) {
	const rate = 50
	cr := &crew{took: time.Millisecond, limit: relay.ShareQuery{
		Account: "a", Connections: 30, Messages: rate, Per: time.Second}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cr.stop(cancel)
	began := time.Now()
	var hands []*hand
	for _, c := range e.join(3) {
		hands = append(hands, cr.start(ctx, c))
	}
	sentEach(t, rate, hands...)
	cr.stop(cancel)
	// The bucket is full at first.
	if n, may := len(cr.begun), rate*(1+time.Since(began).Seconds())+1; float64(n) > may {
		t.Errorf("%d messages in %v, %.0f are allowed", n, time.Since(began), may)
	}
}

// lostAnswers: what was granted in an answer that nobody got is not lost, and an end that is told twice
// counts once.
func lostAnswers(t *testing.T, e Engine) {
	const most = 3600
	list := e.join(2)
	q := relay.ShareQuery{Account: "a", Connections: 2, Messages: most, Per: time.Hour, Exact: true,
		Wanted: 1, Ask: 1}
	for range 5 { // nothing of it is begun
		if s := take(t, list[0], q); s.Messages != 1 {
			t.Fatal("a grant that was not used does not come back")
		}
	}
	told := q
	told.Ended, told.Ask = most-1, 0
	for range 5 {
		take(t, list[0], told)
	}
	waitFor(t, "one message is left of those in an hour", func() bool {
		return take(t, list[1], q).Messages == 1
	})
}

// until: a share lasts from the last beat, for less than a member may be silent, and grows as time goes on.
func until(t *testing.T, e Engine) {
	c := e.Join()
	q := relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1}
	s := take(t, c, q)
	if left := time.Until(s.Until); left > e.DeadAfter*2/3 {
		t.Errorf("a share lasts for %v, two thirds of %v are allowed", left, e.DeadAfter)
	}
	waitFor(t, "a share is prolonged", func() bool {
		later := take(t, c, q)
		if left := time.Until(later.Until); left > e.DeadAfter*2/3 {
			t.Errorf("a share lasts for %v, two thirds of %v are allowed", left, e.DeadAfter)
		}
		return later.Until.After(s.Until.Add(e.DeadAfter / 2))
	})
}

// accountsApart: what is taken of one account is nothing to another.
func accountsApart(t *testing.T, e Engine) {
	list := e.join(2)
	for i, account := range []string{"a", "b"} {
		q := relay.ShareQuery{Account: account, Connections: 2, Wanted: 2, Messages: 1, Per: time.Hour,
			Exact: true, Ask: 1}
		if s := take(t, list[i], q); s.Connections != 2 || s.Messages != 1 {
			t.Errorf("of the account %s there are %d connections and %d messages", account, s.Connections,
				s.Messages)
		}
	}
}
