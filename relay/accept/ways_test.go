package accept

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
)

// TestChoose: which upstream takes mail, by how all of the route stand.
func TestChoose(t *testing.T) {
	for _, c := range []struct{ route, down, full, want string }{
		{"a", "", "", "a"},
		{"a", "a", "", "a"},
		{"a", "", "a", "a"},
		{"a b", "", "", "a"},
		{"a b", "a", "", "b"},
		{"a b", "b", "", "a"},
		{"a b", "a b", "", "a"},
		{"a b", "", "a", "b"},
		{"a b", "", "a b", "b"},
		{"a b", "a", "b", "b"},
		{"a b", "b", "a", "a"},
		{"a b c", "a", "b", "c"},
		{"a b c", "a c", "b", "b"},
		{"a b c", "a", "b c", "c"},
		{"a b c", "a b c", "a", "a"},
		{"b a", "", "", "b"},
		{"", "", "", ""},
	} {
		w := &Ways{Down: in(c.down), Full: in(c.full)}
		if got := w.choose(Route{Upstreams: strings.Fields(c.route)}); got != c.want {
			t.Errorf("route %q, down %q, full %q: %q, want %q", c.route, c.down, c.full, got, c.want)
		}
	}
}

// in reports whether a name is in a list.
func in(list string) func(string) bool {
	return func(name string) bool { return slices.Contains(strings.Fields(list), name) }
}

// queue is a spool that can be listed and edited.
type queue struct {
	relay.Lister
	relay.Editor
	messages map[string]*relay.Message
	leased   map[string]bool // Edit waits for them in vain
}

func (q *queue) List(_ context.Context, f relay.QueueFilter, each func(*relay.Message) bool) error {
	for _, id := range slices.Sorted(maps.Keys(q.messages)) {
		m := q.messages[id]
		if id > f.After && (f.Lane == "" || f.Lane == m.Lane) && !each(m) {
			break
		}
	}
	return nil
}

func (q *queue) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	if q.leased[id] {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	st, _, err := change(q.messages[id])
	if err == nil {
		q.messages[id].Lane = st.Lane
	}
	return err
}

// TestMover: what moves when an upstream is down, and when the routes have changed.
func TestMover(t *testing.T) {
	now := arrived
	waiting := func(state relay.State, due time.Time, last *relay.Attempt) relay.Recipient {
		return relay.Recipient{Address: "x@y.example", State: state, NextAttempt: due, Last: last}
	}
	rows := []struct {
		name, lane, route, down, full string
		of                            relay.Recipient
		relieved, reconsidered        string // the lane afterwards
	}{
		{"waits", "a", "a b", "a", "", waiting(relay.Queued, now, nil), "b", "a"},
		{"is deferred and due", "a", "a b", "a", "", waiting(relay.Deferred, now, nil), "b", "a"},
		{"is greylisted until later", "a", "a b", "a", "",
			waiting(relay.Deferred, now.Add(time.Minute), nil), "a", "a"},
		{"is up", "a", "a b", "", "", waiting(relay.Queued, now, nil), "a", "a"},
		{"all are down", "a", "a b", "a b", "", waiting(relay.Queued, now, nil), "a", "a"},
		{"the next is full", "a", "a b c", "a", "b", waiting(relay.Queued, now, nil), "c", "a"},
		{"the only next is full", "a", "a b", "a", "b", waiting(relay.Queued, now, nil), "b", "a"},
		{"no other upstream", "a", "a", "a", "", waiting(relay.Queued, now, nil), "a", "a"},
		{"an earlier one is up again", "b", "a b", "b", "", waiting(relay.Queued, now, nil), "a", "b"},
		{"may have been taken", "a", "a b", "a", "",
			waiting(relay.Deferred, now, &relay.Attempt{Uncertain: true}), "a", "a"},
		{"was refused for now", "a", "a b", "a", "", waiting(relay.Deferred, now, &relay.Attempt{}), "b",
			"a"},
		{"another route", "a", "b c", "", "", waiting(relay.Queued, now, nil), "a", "b"},
		{"another route, not due", "a", "b c", "", "",
			waiting(relay.Deferred, now.Add(time.Hour), nil), "a", "b"},
		{"another route, its first is down", "a", "b c", "b", "", waiting(relay.Queued, now, nil), "a", "c"},
		{"another route, may have been taken", "a", "b c", "", "",
			waiting(relay.Deferred, now, &relay.Attempt{Uncertain: true}), "a", "a"},
		{"removed upstream, may have been taken", "gone", "b c", "", "",
			waiting(relay.Deferred, now, &relay.Attempt{Uncertain: true}), "gone", "b"},
		{"no route any more", "a", "", "", "", waiting(relay.Queued, now, nil), "a", "a"},
		{"no route any more and removed", "gone", "", "", "", waiting(relay.Queued, now, nil), "gone",
			"last"},
	}
	for _, c := range rows {
		for _, changed := range []bool{false, true} {
			m := &relay.Message{ID: relay.NewID(now), Lane: c.lane, Recipients: []relay.Recipient{
				{Address: "done@y.example", State: relay.Relayed}, c.of,
			}}
			var events []relay.Event
			taken := 0
			mv := &Mover{
				Spool: &queue{messages: map[string]*relay.Message{m.ID: m}},
				Ways: &Ways{
					Route: func(*relay.Message, int) Route {
						return Route{Upstreams: strings.Fields(c.route), Fallback: "last"}
					},
					Down: in(c.down), Full: in(c.full),
				},
				Known:  func(name string) bool { return name != "gone" },
				Moved:  func(_ string, n int) { taken += n },
				Record: recorderFunc(func(e relay.Event) { events = append(events, e) }),
				Now:    func() time.Time { return now },
			}
			want, n, err := c.relieved, 0, error(nil)
			if changed {
				want = c.reconsidered
				n, err = mv.Reconsider(t.Context())
			} else {
				n, err = mv.Relieve(t.Context(), c.lane)
			}
			moved := want != c.lane
			if err != nil || m.Lane != want || (n == 1) != moved || (taken == 1) != moved ||
				(len(events) == 1) != moved {
				t.Errorf("%s, routes changed %v: in lane %s, %d moved, %d taken, events %+v, %v; want %s",
					c.name,
					changed, m.Lane, n, taken, events, err, want)
			}
			if moved && (events[0].Kind != relay.EventMoved || events[0].Lane != want ||
				events[0].To != "x@y.example" || !strings.HasPrefix(events[0].Note, "from "+c.lane+": ")) {
				t.Errorf("%s: event %+v", c.name, events[0])
			}
		}
	}
}

// TestMoverPassesOverLeased: a message that is being tried is left for the next time, and the others move.
func TestMoverPassesOverLeased(t *testing.T) {
	q := &queue{messages: map[string]*relay.Message{}, leased: map[string]bool{}}
	for i := range 2*movePage + 10 {
		m := &relay.Message{ID: relay.DerivedID(arrived.Add(time.Duration(i)*time.Millisecond), "m"),
			Lane: "a",
			Recipients: []relay.Recipient{{Address: "x@y.example", State: relay.Queued,
				NextAttempt: arrived}}}
		q.messages[m.ID] = m
		q.leased[m.ID] = i == 5
	}
	mv := &Mover{
		Spool: lockedQueue{q, make(chan struct{}, 1)},
		Ways: &Ways{Down: in("a"), Full: in(""), Route: func(*relay.Message, int) Route {
			return Route{Upstreams: []string{"a", "b"}}
		}},
		Moved:  func(string, int) {},
		Record: recorderFunc(func(relay.Event) {}),
		Now:    func() time.Time { return arrived },
	}
	n, err := mv.Relieve(t.Context(), "a")
	if err != nil || n != 2*movePage+9 {
		t.Errorf("moved %d, %v; want all but the one that is leased", n, err)
	}
}

// lockedQueue lets one edit run at a time, as long as it is not one that waits.
type lockedQueue struct {
	*queue
	busy chan struct{}
}

func (q lockedQueue) Edit(ctx context.Context, id string,
	change func(*relay.Message) (relay.Settlement, bool, error)) error {
	if !q.leased[id] {
		q.busy <- struct{}{}
		defer func() { <-q.busy }()
	}
	return q.queue.Edit(ctx, id, change)
}

// TestCaps: counts survive a restart and end with the day.
func TestCaps(t *testing.T) {
	now := time.Date(2026, 11, 29, 23, 59, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "daily.json")
	open := func() *Caps {
		t.Helper()
		c, err := OpenCaps(file, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	c.Add("a", 3)
	c.Add("a", 2)
	c.Add("b", 1)
	cancel()
	<-ended
	if c = open(); c.Count("a") != 5 || c.Count("b") != 1 || c.Count("c") != 0 {
		t.Errorf("after a restart: a %d, b %d, c %d", c.Count("a"), c.Count("b"), c.Count("c"))
	}
	now = now.Add(time.Minute)
	if n := c.Count("a"); n != 0 {
		t.Errorf("on the next day: %d", n)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCaps(file, time.Now); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged file: %v", err)
	}
}
