package clustertest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"mailwhy/relay"
)

// duty: one member has it at a time, and its number rises.
func duty(t *testing.T, e Engine) {
	list := e.join(2)
	first, ok := hold(t, list[0], "d", time.Hour)
	if !ok {
		t.Fatal("a free duty is not given")
	}
	if _, ok := hold(t, list[1], "d", time.Hour); ok {
		t.Error("two members have one duty")
	}
	if _, ok := hold(t, list[1], "other", time.Hour); !ok {
		t.Error("another duty is not given")
	}
	if again, ok := hold(t, list[0], "d", time.Hour); !ok || again != first {
		t.Errorf("the holder does not keep it: %v, epoch %d after %d", ok, again, first)
	}
	for _, epoch := range []int64{first - 1, first + 1} {
		if err := list[0].Drop(t.Context(), "d", epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := list[1].Drop(t.Context(), "d", first); err != nil {
		t.Fatal(err)
	}
	if _, ok := hold(t, list[1], "d", time.Hour); ok {
		t.Error("a duty is free though its holder has not dropped this term of it")
	}
	if err := list[0].Drop(t.Context(), "d", first); err != nil {
		t.Fatal(err)
	}
	second, ok := hold(t, list[1], "d", time.Hour)
	if !ok || second <= first {
		t.Errorf("a dropped duty: %v, epoch %d after %d", ok, second, first)
	}
}

// dutyLapses: one that was not prolonged is free, and its holder gets another term.
func dutyLapses(t *testing.T, e Engine) {
	list := e.join(2)
	first, _ := hold(t, list[0], "d", 50*time.Millisecond)
	var second int64
	waitFor(t, "the duty lapses", func() (ok bool) {
		second, ok = hold(t, list[1], "d", 50*time.Millisecond)
		return ok
	})
	if second <= first {
		t.Errorf("the epoch %d follows %d", second, first)
	}
	var third int64
	waitFor(t, "the duty lapses again", func() (ok bool) {
		third, ok = hold(t, list[0], "d", time.Hour)
		return ok
	})
	if third <= second {
		t.Errorf("the epoch %d follows %d", third, second)
	}
}

// dutyOfTheDead: what a dead member had to do falls to another, however long it had it.
func dutyOfTheDead(t *testing.T, e Engine) {
	list := e.join(2)
	first, _ := hold(t, list[0], "d", time.Hour)
	e.Cut(list[0], true)
	var second int64
	waitFor(t, "the duty of the dead is free", func() (ok bool) {
		second, ok = hold(t, list[1], "d", time.Hour)
		return ok
	})
	if second <= first {
		t.Errorf("the epoch %d follows %d", second, first)
	}
}

// write: an entry is written over the version that is in force, and over no other.
func write(t *testing.T, e Engine) {
	list := e.join(2)
	const name = `pause/odd "näme" %_\`
	if got := read(t, list[0], name); got.Version != 0 || len(got.Body) > 0 || got.Name != name {
		t.Fatalf("before it was written there is %+v", got)
	}
	first := put(t, list[0], name, 0, "one", 0)
	if first.Version <= 0 || string(first.Body) != "one" || first.By != list[0].Self() || first.Left != 0 {
		t.Errorf("written was %+v", first)
	}
	got, ok, err := list[1].Write(t.Context(), name, 0, []byte("two"), 0)
	if err != nil || ok || got.Version != first.Version || string(got.Body) != "one" {
		t.Errorf("a second entry beside the first: %v, %v, %+v", ok, err, got)
	}
	second := put(t, list[1], name, first.Version, "two", time.Hour)
	if second.Version <= first.Version {
		t.Errorf("the version %d follows %d", second.Version, first.Version)
	}
	got = read(t, list[0], name)
	if string(got.Body) != "two" || got.By != list[1].Self() || got.Version != second.Version ||
		got.Left <= 0 || got.Left > time.Hour || got.Age < 0 {
		t.Errorf("in force is %+v", got)
	}
	third := put(t, list[0], name, relay.AnyVersion, "three", 0)
	gone := put(t, list[0], name, third.Version, "", 0)
	if got := read(t, list[1], name); got.Version != 0 || len(got.Body) > 0 {
		t.Errorf("after it was removed there is %+v", got)
	}
	if again := put(t, list[1], name, 0, "four", 0); again.Version <= gone.Version ||
		gone.Version <= third.Version {
		t.Errorf("the versions are %d, %d when it was removed, and then %d", third.Version, gone.Version,
			again.Version)
	}
}

// writeAtOnce: of many that try, one succeeds, and nothing that was written is overwritten unseen.
func writeAtOnce(t *testing.T, e Engine) {
	const each = 20
	list := e.join(4)
	var works sync.WaitGroup
	for _, c := range list {
		works.Go(func() {
			for added := 0; added < each; {
				was, err := c.Read(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				_, ok, err := c.Write(t.Context(), "n", was.Version, append(bytes.Clone(was.Body), 'x'), 0)
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					added++
				}
			}
		})
	}
	works.Wait()
	if got := read(t, list[0], "n"); len(got.Body) != each*len(list) {
		t.Errorf("%d of %d additions are there", len(got.Body), each*len(list))
	}
}

// lapse: an entry ends by itself, and its versions go on.
func lapse(t *testing.T, e Engine) {
	c := e.Join()
	first := put(t, c, "n", 0, "x", 50*time.Millisecond)
	waitFor(t, "the entry lapses", func() bool { return read(t, c, "n").Version == 0 })
	if second := put(t, c, "n", 0, "y", 0); second.Version <= first.Version {
		t.Errorf("the version %d follows %d", second.Version, first.Version)
	}
}

// bodies: any bytes, up to 64 KiB.
func bodies(t *testing.T, e Engine) {
	list := e.join(2)
	body := make([]byte, 64<<10)
	for i := range body {
		body[i] = byte(i * 7)
	}
	if _, ok, err := list[0].Write(t.Context(), "n", 0, body, 0); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got := read(t, list[1], "n"); !bytes.Equal(got.Body, body) {
		t.Errorf("%d other bytes are read than were written", len(got.Body))
	}
}

// once: one member within the time.
func once(t *testing.T, e Engine) {
	var firsts, works sync.WaitGroup
	count := make(chan bool, 100)
	for _, c := range e.join(4) {
		works.Go(func() {
			first, err := relay.Once(t.Context(), c, "what", time.Hour)
			if err != nil {
				t.Error(err)
			}
			if first {
				count <- true
			}
		})
	}
	works.Wait()
	firsts.Wait()
	if len(count) != 1 {
		t.Errorf("%d members are the first", len(count))
	}
	list := e.join(2)
	if _, err := relay.Once(t.Context(), list[0], "short", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the time is over", func() bool {
		again, err := relay.Once(t.Context(), list[1], "short", time.Hour)
		return err == nil && again
	})
}

// heard are the entries that a Watch told of.
type heard struct {
	mu   sync.Mutex
	list []relay.BoardEntry
}

func (h *heard) tell(b relay.BoardEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, b)
}

// last is the last entry of a name.
func (h *heard) last(name string) (last relay.BoardEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.list {
		if b.Name == name {
			last = b
		}
	}
	return last
}

// ordered fails the test if a version did not rise.
func (h *heard) ordered(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	last := map[string]int64{}
	for _, b := range h.list {
		if b.Version <= last[b.Name] {
			t.Errorf("the version %d of %s follows %d", b.Version, b.Name, last[b.Name])
		}
		last[b.Name] = b.Version
	}
}

// watch: what is in force is told, then what changes, in order, and nothing else.
func watch(t *testing.T, e Engine) {
	list := e.join(2)
	put(t, list[0], "p/old", 0, "x", 0)
	put(t, list[0], "q/old", 0, "x", 0)
	removed := put(t, list[0], "p/removed", 0, "x", 0)
	put(t, list[0], "p/removed", removed.Version, "", 0)
	var h, own heard
	defer list[1].Watch("p/", h.tell)()
	defer list[0].Watch("p/", own.tell)()
	waitFor(t, "the entry in force is told", func() bool { return string(h.last("p/old").Body) == "x" })
	for n := range 20 {
		put(t, list[0], "p/n", relay.AnyVersion, fmt.Sprint(n), time.Hour)
	}
	waitFor(t, "the last change is told", func() bool { return string(h.last("p/n").Body) == "19" })
	waitFor(t, "a member is told its own", func() bool { return string(own.last("p/n").Body) == "19" })
	if got := h.last("p/n"); got.By != list[0].Self() || got.Left <= 0 || got.Left > time.Hour {
		t.Errorf("told was %+v", got)
	}
	gone := put(t, list[1], "p/n", relay.AnyVersion, "", 0)
	waitFor(t, "the removal is told", func() bool { return h.last("p/n").Version == gone.Version })
	if got := h.last("p/n"); len(got.Body) > 0 {
		t.Errorf("of the removal is told %+v", got)
	}
	h.ordered(t)
	if h.last("q/old").Version != 0 || h.last("p/removed").Version != 0 {
		t.Error("something else is told")
	}
}

// watchCatchesUp: what happened while the engine was away is told when it is back.
func watchCatchesUp(t *testing.T, e Engine) {
	list := e.join(2)
	var h heard
	defer list[1].Watch("", h.tell)()
	first := put(t, list[0], "n", 0, "one", 0)
	waitFor(t, "the entry is told", func() bool { return h.last("n").Version == first.Version })
	e.Cut(list[1], true)
	put(t, list[0], "n", first.Version, "two", 0)
	last := put(t, list[0], "n", relay.AnyVersion, "three", 0)
	put(t, list[0], "m", 0, "new", 0)
	e.Cut(list[1], false)
	waitFor(t, "the change is told", func() bool { return h.last("n").Version == last.Version })
	waitFor(t, "the new entry is told", func() bool { return string(h.last("m").Body) == "new" })
	h.ordered(t)
}

// watchStops: after stop nothing is told.
func watchStops(t *testing.T, e Engine) {
	list := e.join(2)
	var h, other heard
	stop := list[1].Watch("", h.tell)
	defer list[1].Watch("", other.tell)()
	put(t, list[0], "n", 0, "one", 0)
	waitFor(t, "the entry is told", func() bool { return string(h.last("n").Body) == "one" })
	stop()
	stop()
	put(t, list[0], "n", relay.AnyVersion, "two", 0)
	waitFor(t, "another is told", func() bool { return string(other.last("n").Body) == "two" })
	if got := h.last("n"); string(got.Body) != "one" {
		t.Errorf("after stop is told %+v", got)
	}
}
