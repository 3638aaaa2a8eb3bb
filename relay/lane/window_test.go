package lane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay"
)

// TestWindow: whenever a provider counts a message, at its beginning, its end or between, there are never
// more than the rate in one span, and little of the rate is lost. What is remembered is bounded.
func TestWindow(t *testing.T) {
	seed := rand.New(rand.NewPCG(3, 4))
	for _, most := range []int{1, 2, 30, 64, 65, 1000, 10_000} {
		w := &window{rate: Rate{most, time.Hour}}
		start := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
		now := start
		var counted []time.Time
		for now.Sub(start) < 10*time.Hour {
			n, wait := w.free(now)
			if n == 0 {
				if wait <= 0 {
					t.Fatalf("rate %d: nothing is under way, and there is no end to the wait", most)
				}
				now = now.Add(wait)
				continue
			}
			w.begin(1)
			took := time.Duration(seed.Int64N(int64(300 * time.Millisecond)))
			counted = append(counted, now.Add(time.Duration(seed.Int64N(int64(took)+1))))
			now = now.Add(took)
			w.end(now, true)
		}
		slices.SortFunc(counted, time.Time.Compare)
		for i := most; i < len(counted); i++ {
			if span := counted[i].Sub(counted[i-most]); span < time.Hour {
				t.Fatalf("rate %d: one more than that within %v", most, span)
			}
		}
		if got := len(counted); float64(got) < 0.95*float64(10*most) {
			t.Errorf("rate %d: %d messages in ten hours", most, got)
		}
		if len(w.slots) > windowSlots+1 || cap(w.slots) > 4*windowSlots {
			t.Errorf("rate %d: %d slots in room for %d", most, len(w.slots), cap(w.slots))
		}
	}
}

// TestWindowWhenTheClockIsSetBack: what ended in the future is forgotten, for it would never end.
func TestWindowWhenTheClockIsSetBack(t *testing.T) {
	w := &window{rate: Rate{2, time.Minute}}
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	w.begin(2)
	w.end(now, true)
	w.end(now, true)
	if n, wait := w.free(now.Add(time.Second)); n != 0 || wait != 59*time.Second {
		t.Errorf("%d free, wait %v", n, wait)
	}
	if n, _ := w.free(now.Add(-time.Hour)); n != 2 {
		t.Errorf("%d free after the clock was set back", n)
	}
}

// TestRateAfterOutages: what was leased and given back because the upstream was out of reach counts for
// nothing, so that all of the rate is there when it is back.
func TestRateAfterOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.settings.Rate, b.settings.Concurrency = Rate{20, time.Minute}, 2
		b.upstream.delay = 10 * time.Second // so that leased messages wait for a connection
		var down atomic.Bool
		b.upstream.fault = func() *relay.Attempt {
			if down.Load() {
				return connectFault()
			}
			return nil
		}
		for n := range 500 {
			b.put("a@example.com", fmt.Sprintf("r%d@example.net", n))
		}
		stop := b.run(t)
		defer stop()
		for range 30 {
			pass(30 * time.Second)
			down.Store(true)
			pass(30 * time.Second)
			down.Store(false)
			b.lane.Probe()
		}
		before := b.spool.states()[relay.Relayed]
		pass(4 * time.Minute)
		if n := b.spool.states()[relay.Relayed] - before; n < 46 || n > 49 {
			t.Errorf("%d messages in four minutes over two connections, want 48", n)
		}
	})
}
