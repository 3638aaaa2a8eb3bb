// Package clustertest is what every engine of relay.Coordination must pass: each promise of the port, with
// several members. It runs in real time, within some seconds, and makes no demands on the speed of a machine.
package clustertest

import (
	"context"
	"testing"
	"time"

	"mailwhy/relay"
)

// Engine is one engine under test, with a cluster of its own that nobody has joined.
type Engine struct {
	// Join makes a member. The engine's own clean-up ends it.
	Join func() relay.Coordination
	// Cut takes the engine away from a member, or gives it back. A member that stays cut off is one that was
	// killed.
	Cut func(c relay.Coordination, away bool)
	// DeadAfter is after which time without a beat a member is taken for dead: a second or so.
	DeadAfter time.Duration
}

// Run tests an engine. open makes one for each test.
func Run(t *testing.T, open func(t *testing.T) Engine) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Engine)
	}{
		{"Connections", connections},
		{"ConnectionsOfTheDead", connectionsOfTheDead},
		{"EvenParts", evenParts},
		{"Turns", turns},
		{"ExactRate", exactRate},
		{"Bucket", bucket},
		{"LostAnswers", lostAnswers},
		{"Until", until},
		{"AccountsApart", accountsApart},
		{"Leave", leave},
		{"Duty", duty},
		{"DutyLapses", dutyLapses},
		{"DutyOfTheDead", dutyOfTheDead},
		{"Write", write},
		{"WriteAtOnce", writeAtOnce},
		{"Lapse", lapse},
		{"Bodies", bodies},
		{"Once", once},
		{"Watch", watch},
		{"WatchCatchesUp", watchCatchesUp},
		{"WatchStops", watchStops},
		{"Members", members},
		{"Away", away},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// waitFor waits until what holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v this does not hold: %s", patience, what)
		}
	}
}

// join makes n members.
func (e *Engine) join(n int) (list []relay.Coordination) {
	for range n {
		list = append(list, e.Join())
	}
	return list
}

// take asks for a share, which must be answered.
func take(t *testing.T, c relay.Coordination, q relay.ShareQuery) relay.Share {
	t.Helper()
	s, err := c.Take(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hold asks for a duty, which must be answered.
func hold(t *testing.T, c relay.Coordination, duty string, lasts time.Duration) (int64, bool) {
	t.Helper()
	epoch, ok, err := c.Hold(t.Context(), duty, lasts)
	if err != nil {
		t.Fatal(err)
	}
	return epoch, ok
}

// put writes an entry, which must succeed.
func put(t *testing.T, c relay.Coordination, name string, old int64, body string,
	lasts time.Duration) relay.BoardEntry {
	t.Helper()
	got, ok, err := c.Write(t.Context(), name, old, []byte(body), lasts)
	if err != nil || !ok {
		t.Fatalf("cannot write %q over version %d: %v, in force is %+v", name, old, err, got)
	}
	return got
}

// read reads an entry.
func read(t *testing.T, c relay.Coordination, name string) relay.BoardEntry {
	t.Helper()
	got, err := c.Read(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// members: the list has who is alive, and what they have.
func members(t *testing.T, e Engine) {
	list := e.join(3)
	take(t, list[0], relay.ShareQuery{Account: "a", Connections: 5, Wanted: 2})
	ids := func(want int) func() bool {
		return func() bool {
			got, err := list[0].Members(t.Context())
			return err == nil && len(got) == want
		}
	}
	waitFor(t, "three members are seen", ids(3))
	got, err := list[1].Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range got {
		if m.Host == "" || m.Version == "" || m.Since.IsZero() || m.Beat < 0 {
			t.Errorf("this is not all of a member: %+v", m)
		}
		if i > 0 && got[i-1].ID >= m.ID {
			t.Errorf("%s comes before %s", got[i-1].ID, m.ID)
		}
		if m.ID == list[0].Self() && m.Connections["a"] != 2 {
			t.Errorf("the first member has %v", m.Connections)
		}
	}
	e.Cut(list[1], true)
	waitFor(t, "a dead member is gone", ids(2))
	e.Cut(list[1], false)
	waitFor(t, "a member that is back is seen", ids(3))
	if err := list[2].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a member that left is gone", ids(2))
}

// away: without the engine there are errors, soon.
func away(t *testing.T, e Engine) {
	c := e.Join()
	take(t, c, relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1})
	e.Cut(c, true)
	for what, call := range map[string]func(context.Context) error{
		"Take": func(ctx context.Context) error {
			_, err := c.Take(ctx, relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1})
			return err
		},
		"Hold": func(ctx context.Context) error {
			_, _, err := c.Hold(ctx, "d", time.Second)
			return err
		},
		"Drop": func(ctx context.Context) error { return c.Drop(ctx, "d", 1) },
		"Read": func(ctx context.Context) error {
			_, err := c.Read(ctx, "n")
			return err
		},
		"Write": func(ctx context.Context) error {
			_, _, err := c.Write(ctx, "n", 0, []byte("x"), 0)
			return err
		},
		"Members": func(ctx context.Context) error {
			_, err := c.Members(ctx)
			return err
		},
		"Leave": func(ctx context.Context) error { return c.Leave(ctx) },
	} {
		done := make(chan error, 1)
		go func() { done <- call(t.Context()) }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s succeeds without the engine", what)
			}
		case <-time.After(patience):
			t.Fatalf("%s does not return", what)
		}
	}
	e.Cut(c, false)
	waitFor(t, "the engine answers again", func() bool {
		_, err := c.Read(t.Context(), "n")
		return err == nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Take(ctx, relay.ShareQuery{Account: "a", Connections: 1, Wanted: 1}); err == nil {
		t.Error("Take succeeds though its context has ended")
	}
}

// leave: what a member had is free at once.
func leave(t *testing.T, e Engine) {
	list := e.join(2)
	q := relay.ShareQuery{Account: "a", Connections: 3, Wanted: 3}
	if s := take(t, list[0], q); s.Connections != 3 {
		t.Fatalf("a member alone gets %d connections", s.Connections)
	}
	before, ok := hold(t, list[0], "d", time.Hour)
	if !ok {
		t.Fatal("a free duty is not given")
	}
	if err := list[0].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := take(t, list[1], q); s.Connections != 3 {
		t.Errorf("after the other has left there are %d connections", s.Connections)
	}
	if epoch, ok := hold(t, list[1], "d", time.Hour); !ok || epoch <= before {
		t.Errorf("the duty of a member that left: %v, epoch %d after %d", ok, epoch, before)
	}
	if _, err := list[0].Take(t.Context(), q); err == nil {
		t.Error("a member that left gets a share")
	}
}
