package share

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mailwhy/relay"
)

// world is a number of members before one account, in a time of its own. It keeps what the provider sees.
type world struct {
	t     *testing.T
	seed  *rand.Rand
	now   time.Time
	state State
	limit relay.ShareQuery
	all   []*member
	took  time.Duration // by an exchange, at most
	lost  float64       // share of the answers that are lost

	counted  []time.Time // when the provider counted a message
	queries  int
	mostOpen int
}

// member is one of them. It has as much mail as it may send, if busy.
type member struct {
	id       string
	busy     bool
	dead     time.Time // since when; zero while it lives
	open     []time.Time
	may      int // connections
	granted  int
	ended    int64
	sent     int
	next     time.Time
	asksSoon bool
}

func newWorld(t *testing.T, members int, limit relay.ShareQuery) *world {
	w := &world{t: t, seed: rand.New(rand.NewPCG(5, 6)), now: time.Unix(1_700_000_000, 0), limit: limit,
		took: 300 * time.Millisecond}
	for n := range members {
		w.all = append(w.all, &member{id: fmt.Sprint("m", n), busy: true,
			next: w.now.Add(time.Duration(n) * 7 * time.Millisecond)})
	}
	return w
}

func (w *world) died(id string) (time.Time, bool) {
	for _, m := range w.all {
		if m.id == id {
			return m.dead.Add(30 * time.Second), !m.dead.IsZero() && w.now.Sub(m.dead) > 30*time.Second
		}
	}
	return w.now, true
}

// run lets time pass in steps of 5 ms.
func (w *world) run(d time.Duration) {
	const step = 5 * time.Millisecond
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(step) {
		open := 0
		for _, m := range w.all {
			w.work(m)
			open += len(m.open)
		}
		w.mostOpen = max(w.mostOpen, open)
	}
}

// work ends and begins the messages of a member, and lets it ask when it is time.
func (w *world) work(m *member) {
	if !m.dead.IsZero() {
		if w.now.Sub(m.dead) > time.Second {
			m.open = nil
		}
		return
	}
	kept := m.open[:0]
	for _, at := range m.open {
		if at.After(w.now) {
			kept = append(kept, at)
		} else {
			m.ended++
			m.asksSoon = true
		}
	}
	m.open = kept
	for m.busy && m.granted > 0 && len(m.open) < m.may {
		m.granted--
		m.sent++
		took := time.Duration(w.seed.Int64N(int64(w.took)) + 1)
		w.counted = append(w.counted, w.now.Add(time.Duration(w.seed.Int64N(int64(took)))))
		m.open = append(m.open, w.now.Add(took))
	}
	if m.asksSoon || !w.now.Before(m.next) {
		w.ask(m)
	}
}

func (w *world) ask(m *member) {
	q := w.limit
	q.Held, q.Begun, q.Ended = len(m.open), len(m.open)+m.granted, m.ended
	if m.busy {
		q.Wanted, q.Ask = w.limit.Connections, w.limit.Connections
	}
	w.queries++
	m.asksSoon = false
	if w.queries%100 == 0 {
		w.store()
	}
	share := w.state.Take(w.now, m.id, w.died, &q)
	if w.seed.Float64() < w.lost {
		m.next = w.now.Add(time.Second)
		return
	}
	if share.Again <= 0 && !q.Leaves() || share.Again > time.Second {
		w.t.Fatalf("%s is to ask again after %v", m.id, share.Again)
	}
	if q.Leaves() {
		m.ended, share.Again = 0, time.Hour
	}
	m.may, m.granted, m.next = share.Connections, m.granted+share.Messages, w.now.Add(share.Again)
}

// store stores the state and reads it back, as an engine does.
func (w *world) store() {
	var stored State
	if b, err := json.Marshal(&w.state); err != nil {
		w.t.Fatal(err)
	} else if err := json.Unmarshal(b, &stored); err != nil {
		w.t.Fatal(err)
	}
	w.state = stored
}

// mostWithin is the most messages that the provider counted within a span.
func (w *world) mostWithin(span time.Duration) (most int) {
	slices.SortFunc(w.counted, time.Time.Compare)
	from := 0
	for i := range w.counted {
		for w.counted[i].Sub(w.counted[from]) >= span {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// TestExact: 20 members, 30 messages a minute and 3 connections, two killed, answers lost: nothing is
// exceeded in any minute, and nearly all is used, by all of them alike.
func TestExact(t *testing.T) {
	for _, lost := range []float64{0, 0.05} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			w := newWorld(t, 20,
				relay.ShareQuery{Connections: 3, Messages: 30, Per: time.Minute, Exact: true})
			w.lost = lost
			w.run(10 * time.Minute)
			w.all[3].dead = w.now
			w.run(5 * time.Minute)
			w.all[4].dead = w.now
			w.run(15 * time.Minute)
			if n := w.mostWithin(time.Minute); n > 30 {
				t.Errorf("%d messages within a minute", n)
			}
			if w.mostOpen > 3 {
				t.Errorf("%d connections", w.mostOpen)
			}
			if got := len(w.counted); got < 30*30*95/100 {
				t.Errorf("%d messages in 30 minutes, want 95 %% of %d", got, 30*30)
			}
			t.Logf("%d messages, %d queries", len(w.counted), w.queries)
			for n, m := range w.all {
				if n != 3 && n != 4 && (m.sent < 30 || m.sent > 70) {
					t.Errorf("%s sent %d of %d", m.id, m.sent, len(w.counted))
				}
			}
		})
	}
}

// TestConnections: without a rate the connections are all in use, never one too many, and the members take
// turns if there are more of them, or have an even part each.
func TestConnections(t *testing.T) {
	for _, c := range []struct{ members, connections int }{{1, 3}, {2, 3}, {3, 3}, {20, 3}, {4, 10}, {5, 1}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			w := newWorld(t, c.members, relay.ShareQuery{Connections: c.connections})
			const lasts = 5 * time.Minute
			w.run(lasts)
			if w.mostOpen > c.connections {
				t.Errorf("%d connections", w.mostOpen)
			}
			all := float64(c.connections) * lasts.Seconds() / (w.took.Seconds()/2 + 0.005)
			got := float64(len(w.counted))
			t.Logf("%.0f messages, %.0f %%; %d queries", got, 100*got/all, w.queries)
			if got < 0.85*all {
				t.Errorf("%.0f messages, %.0f can be sent", got, all)
			}
			even := len(w.counted) / c.members
			for _, m := range w.all {
				if m.sent < even/2 || m.sent > 2*even {
					t.Errorf("%s sent %d, an even part is %d", m.id, m.sent, even)
				}
			}
		})
	}
}

// TestBucket: a rate a second is kept on average and nearly all used, whoever is busy.
func TestBucket(t *testing.T) {
	w := newWorld(t, 5, relay.ShareQuery{Connections: 50, Messages: 100, Per: time.Second})
	w.all[0].busy, w.all[1].busy = false, false
	const lasts = 2 * time.Minute
	w.run(lasts)
	if n := w.mostWithin(10 * time.Second); n > 100*11+50 {
		t.Errorf("%d messages within ten seconds", n)
	}
	if got := len(w.counted); got < int(95*lasts.Seconds()) {
		t.Errorf("%d messages in %v", got, lasts)
	}
	for _, m := range w.all[2:] {
		if even := len(w.counted) / 3; m.sent < even*8/10 || m.sent > even*12/10 {
			t.Errorf("%s sent %d, an even part is %d", m.id, m.sent, even)
		}
	}
}

// TestDeadCountAsEnded: what a dead member had granted counts from the moment of its death, once.
func TestDeadCountAsEnded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var diedAt time.Time
	died := func(id string) (time.Time, bool) { return diedAt, id == "a" && !diedAt.IsZero() }
	q := relay.ShareQuery{Connections: 10, Messages: 2, Per: time.Minute, Exact: true, Wanted: 1, Ask: 2}
	var s State
	if got := s.Take(now, "a", died, &q); got.Messages != 1 {
		t.Fatalf("a gets %d", got.Messages)
	}
	now = now.Add(40 * time.Second)
	diedAt = now.Add(-5 * time.Second)
	if got := s.Take(now, "b", died, &q); got.Messages != 1 {
		t.Fatalf("b gets %d", got.Messages)
	}
	q.Begun = 1
	if got := s.Take(now.Add(54*time.Second), "b", died, &q); got.Messages != 0 {
		t.Error("before a minute is over there are three")
	}
	if got := s.Take(now.Add(56*time.Second), "b", died, &q); got.Messages != 1 {
		t.Error("after a minute the message of the dead member still counts")
	}
	diedAt = time.Time{} // it was only out of reach
	q.Begun, q.Ended = 0, 1
	s.Take(now.Add(57*time.Second), "a", died, &q)
	if n := s.used(); n != 2 {
		t.Errorf("%d messages count, want the two of b", n)
	}
}

// TestLeaves: an account that nobody uses costs nothing.
func TestLeaves(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	alive := func(string) (time.Time, bool) { return time.Time{}, false }
	q := relay.ShareQuery{Connections: 1, Messages: 1, Per: time.Minute, Exact: true, Held: 1, Wanted: 1,
		Ask: 1}
	var s State
	s.Take(now, "a", alive, &q)
	q.Held, q.Wanted, q.Ask, q.Ended = 0, 0, 0, 1
	if got := s.Take(now, "a", alive, &q); got != (relay.Share{}) {
		t.Errorf("who wants nothing gets %+v", got)
	}
	if s.Forget(now, q.Per) {
		t.Error("a message that ended just now is forgotten")
	}
	if !s.Forget(now.Add(q.Per), q.Per) {
		t.Errorf("this is left: %+v", s)
	}
}
