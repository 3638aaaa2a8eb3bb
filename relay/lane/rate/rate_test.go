package rate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestWindow: whenever a provider counts a message, at its beginning, its end or between, there are never
// more than the rate in one span, and little of the rate is lost. What is remembered is bounded.
func TestWindow(t *testing.T) {
	seed := rand.New(rand.NewPCG(3, 4))
	for _, most := range []int{1, 2, 30, 64, 65, 1000, 10_000} {
		w := &Window{Rate: Rate{Messages: most, Per: time.Hour}}
		start := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
		now := start
		var counted []time.Time
		for now.Sub(start) < 10*time.Hour {
			n, wait := w.Free(now)
			if n == 0 {
				if wait <= 0 {
					t.Fatalf("rate %d: nothing is under way, and there is no end to the wait", most)
				}
				now = now.Add(wait)
				continue
			}
			w.Begin(1)
			took := time.Duration(seed.Int64N(int64(300 * time.Millisecond)))
			counted = append(counted, now.Add(time.Duration(seed.Int64N(int64(took)+1))))
			now = now.Add(took)
			w.End(now, true)
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
		if len(w.slots) > slotsMost+1 || cap(w.slots) > 4*slotsMost {
			t.Errorf("rate %d: %d slots in room for %d", most, len(w.slots), cap(w.slots))
		}
	}
}

// TestWindowWhenTheClockIsSetBack: what ended in the future is forgotten, for it would never end.
func TestWindowWhenTheClockIsSetBack(t *testing.T) {
	w := &Window{Rate: Rate{Messages: 2, Per: time.Minute}}
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	w.Begin(2)
	w.End(now, true)
	w.End(now, true)
	if n, wait := w.Free(now.Add(time.Second)); n != 0 || wait != 59*time.Second {
		t.Errorf("%d free, wait %v", n, wait)
	}
	if n, _ := w.Free(now.Add(-time.Hour)); n != 2 {
		t.Errorf("%d free after the clock was set back", n)
	}
}
