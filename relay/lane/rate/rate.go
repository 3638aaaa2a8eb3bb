// Package rate holds a rate of messages to the letter. A lane asks a Window how many may begin.
package rate

import "time"

// Rate is an upper bound on messages over time; the zero Rate means no bound.
type Rate struct {
	Messages int
	Per      time.Duration
}

// PerSecond is the rate in messages a second; 0 when there is no bound.
func (r Rate) PerSecond() float64 {
	if r.Messages <= 0 || r.Per <= 0 {
		return 0
	}
	return float64(r.Messages) / r.Per.Seconds()
}

// The constants of a window.
const (
	From      = time.Minute // the shortest time of a rate that is held to the letter
	slotsMost = 64          // in which ended messages are remembered
)

// Window holds a rate to the letter: within no span of Rate.Per are more than Rate.Messages under way or
// ended. The bucket of a pace alone cannot, for the upstream counts a message at some moment of its exchange,
// and exchanges differ in length: a slow one with quick ones behind it makes 31 messages in a minute of a
// bucket that lets 30 go. A message counts here from its beginning until Per after its end, so whenever the
// upstream counts it, the limit is kept. That costs the length of one exchange in each Per, which is why a
// rate a second has none: there the exchange would cost more than the rare message above the limit.
//
// The ends are remembered in slots, exactly for as many messages as there are slots; for more, a slot stands
// for several and ends with the last of them.
type Window struct {
	Rate  Rate
	open  int    // messages begun and not ended
	ended int    // messages in slots
	slots []slot // oldest first
}

// slot is a number of messages, the last of which ended at that time.
type slot struct {
	last     time.Time
	messages int
}

// Free is how many messages may begin now, and how long until another may; 0 if that does not depend on time.
func (w *Window) Free(now time.Time) (n int, wait time.Duration) {
	for len(w.slots) > 0 {
		since := now.Sub(w.slots[0].last)
		if since >= 0 && since < w.Rate.Per { // below 0 the clock was set back: the slot would last too long
			wait = w.Rate.Per - since
			break
		}
		w.ended -= w.slots[0].messages
		w.slots = w.slots[1:]
	}
	return max(w.Rate.Messages-w.open-w.ended, 0), wait
}

// Begin counts n messages.
func (w *Window) Begin(n int) { w.open += n }

// End says that a message is no longer under way, and whether it was offered: if not, it does not count.
func (w *Window) End(now time.Time, offered bool) {
	w.open = max(w.open-1, 0) // the rate may have been configured after it began
	if !offered {
		return
	}
	w.ended++
	size := (w.Rate.Messages + slotsMost - 1) / slotsMost
	if last := len(w.slots) - 1; last >= 0 && w.slots[last].messages < size {
		w.slots[last] = slot{now, w.slots[last].messages + 1}
		return
	}
	w.slots = append(w.slots, slot{now, 1})
}

// GiveBack says that n messages were not begun after all.
func (w *Window) GiveBack(n int) { w.open = max(w.open-n, 0) }

// Open is how many messages have begun and not ended.
func (w *Window) Open() int { return w.open }
