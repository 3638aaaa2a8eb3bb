package webhook

import (
	"slices"
	"time"

	"mailwhy/relay/record/webhook/eventlog"
)

// item is an event that is to be sent.
type item struct {
	eventlog.Stored
	attempts int
	due      time.Time
	flying   bool
	group    *group // it was sent with; nil before the first time
	tells    int64  // lost events that it tells of: it is not in the log itself
}

// group are the events of a request. They stay together when it is sent again, so that its id is the same.
type group struct{ items []*item }

// window are the events that were read and are not done, in the order of the log.
type window struct{ items []*item }

// windowMost is how many events are read ahead, those that wait included.
const windowMost = 1024

// maxBody is from how many bytes on a batch takes no further event.
const maxBody = 256 << 10

// next is what may be sent now: the events of one request. Events of one message go in their order, so that
// one is held up by an earlier one that is under way or waits.
func (w *window) next(now time.Time, batch int) *group {
	var held map[string]bool
	g := &group{}
	bytes := 0
	for _, it := range w.items {
		if it.flying || it.due.After(now) || held[it.Order] ||
			it.group != nil && len(g.items) > 0 {
			if held == nil {
				held = map[string]bool{}
			}
			held[it.Order] = it.Order != ""
			continue
		}
		if it.group != nil {
			return it.group
		}
		g.items = append(g.items, it)
		if bytes += len(it.Data); len(g.items) == batch || bytes >= maxBody {
			break
		}
	}
	if len(g.items) == 0 {
		return nil
	}
	for _, it := range g.items {
		it.group = g
	}
	return g
}

// launch notes that a request is under way.
func (g *group) launch() {
	for _, it := range g.items {
		it.flying = true
	}
}

// done removes the events of a request.
func (w *window) done(g *group) {
	w.items = slices.DeleteFunc(w.items, func(it *item) bool { return it.group == g })
}

// failed lets the events of a request wait, and returns those that are given up. apart lets each go by itself
// from now on.
func (w *window) failed(g *group, now time.Time, apart bool, spread float64) (given []*item) {
	for _, it := range g.items {
		it.flying = false
		it.attempts++
		d, again := wait(it.attempts, spread)
		if !again {
			given = append(given, it)
			continue
		}
		it.due = now.Add(d)
		if apart {
			it.group = &group{items: []*item{it}}
		}
	}
	if len(given) > 0 {
		isGiven := func(it *item) bool { return slices.Contains(given, it) }
		w.items = slices.DeleteFunc(w.items, isGiven)
		g.items = slices.DeleteFunc(g.items, isGiven)
	}
	return given
}

// hurry makes everything due. What it brings forward uses up no step of the schedule.
func (w *window) hurry() {
	for _, it := range w.items {
		if !it.due.IsZero() {
			it.due, it.attempts = time.Time{}, it.attempts-1
		}
	}
}

// soonest is when the next event becomes due; zero when none does. One that is due and held up goes when what
// holds it up is done.
func (w *window) soonest(now time.Time) (at time.Time) {
	for _, it := range w.items {
		if !it.flying && it.due.After(now) && (at.IsZero() || it.due.Before(at)) {
			at = it.due
		}
	}
	return at
}

// late reports whether an event that waits for nothing but its turn has done so for long.
func (w *window) late(now time.Time) bool {
	for _, it := range w.items {
		if it.due.IsZero() && !it.flying {
			return now.Sub(it.Time) >= busyMost
		}
	}
	return false
}

// ready is how many events wait for nothing but their turn.
func (w *window) ready() (n int) {
	for _, it := range w.items {
		if it.due.IsZero() && !it.flying {
			n++
		}
	}
	return n
}

// cut removes the events before a place that are not under way, and returns how many.
func (w *window) cut(before eventlog.Pos) int {
	n := len(w.items)
	w.items = slices.DeleteFunc(w.items, func(it *item) bool { return it.At < before && !it.flying })
	return n - len(w.items)
}
