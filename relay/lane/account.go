package lane

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/relay/lane/rate"
)

// Account is what the lanes share whose upstreams are one account at one host: its connections, its rate, and
// the news that it is asked for less. Each lane keeps its own pace below that, so one that finds a limit of
// its own does not slow the others. It is safe for concurrent use; a nil Account sets no bounds.
//
// A lane takes from the rate before it leases messages, and a connection before it starts a worker. Where all
// are in use it waits in a queue, and a lane that has more than its share gives one up between two messages.
type Account struct {
	mu          sync.Mutex
	connections int // most at once
	rate        Rate
	tokens      float64 // messages that may begin now, as far as the bucket goes; see pace.setBucket
	filled      time.Time
	window      *rate.Window // of a rate a minute or longer
	members     map[*Lane]bool
	held        map[*Lane]int // connections of the lanes, also of those that left, until they end
	open        int           // all of these
	queue       []*Lane       // that wait for a connection, longest first
	wanted      atomic.Bool   // the queue is not empty
	shared      *shared       // its part of what several relays have; nil if it has all
}

// NewAccount makes an Account without members. Lanes join it when they first act.
func NewAccount(connections int, most Rate) *Account {
	a := &Account{members: map[*Lane]bool{}, held: map[*Lane]int{}}
	a.Configure(connections, most)
	return a
}

// Configure sets the bounds. What is under way counts.
func (a *Account) Configure(connections int, most Rate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections = connections
	if most == a.rate {
		return
	}
	a.rate, a.window = most, nil
	if most.Messages > 0 && most.Per >= rate.From {
		a.window = &rate.Window{Rate: most}
	}
	a.tokens = min(max(a.tokens, 1), a.burst())
}

// burst is how many messages the bucket holds.
func (a *Account) burst() float64 { return max(1, a.rate.PerSecond()/10) }

// join makes a lane a member.
func (a *Account) join(l *Lane) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.members[l] = true
}

// quit ends the membership of a lane. What it still has under way is given back as it ends.
func (a *Account) quit(l *Lane) {
	if a == nil {
		return
	}
	a.leave(l)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.members, l)
	if a.shared != nil {
		delete(a.shared.needs, l)
	}
}

// grant takes up to n messages out of the rate for a lane, which is kicked when more come in a share. wait is
// how long until more may begin; 0 if that does not depend on time. Each of them must be given back, or
// ended.
func (a *Account) grant(l *Lane, now time.Time, n int) (granted int, wait time.Duration) {
	if a == nil || n <= 0 {
		return n, 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	second := a.rate.PerSecond()
	if a.shared != nil {
		return a.shared.grant(l, n, second > 0), 0
	}
	if second == 0 {
		return n, 0
	}
	if a.window != nil {
		free, until := a.window.Free(now)
		if free == 0 {
			return 0, until
		}
		n = min(n, free)
	}
	if since := now.Sub(a.filled).Seconds(); since > 0 {
		a.tokens = min(a.tokens+since*second, a.burst())
	}
	a.filled = now
	granted = min(n, int(a.tokens))
	a.tokens -= float64(granted)
	if a.window != nil {
		a.window.Begin(granted)
	}
	if granted < n {
		wait = max(time.Duration((1-a.tokens)/second*float64(time.Second)), time.Millisecond)
	}
	return granted, wait
}

// giveBack returns n granted messages that were not begun.
func (a *Account) giveBack(n int) {
	if a == nil || n <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shared != nil {
		a.shared.giveBack(n, a.rate.PerSecond() > 0)
		return
	}
	if a.rate.PerSecond() > 0 {
		a.tokens = min(a.tokens+float64(n), a.burst())
	}
	if a.window != nil {
		a.window.GiveBack(n)
	}
}

// ended says that a granted message is no longer under way, and whether it was offered.
func (a *Account) ended(now time.Time, offered bool) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.shared != nil:
		a.shared.ends(offered, a.window != nil)
	case a.window != nil:
		a.window.End(now, offered)
	}
}

// connect takes a connection for a lane, which could use as many as it wants. Where there is none it queues
// the lane, which is kicked when its turn comes, and must then connect or leave.
func (a *Account) connect(l *Lane, wants int) bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.queue, l) {
		a.queue = append(a.queue, l)
		a.wanted.Store(true)
	}
	if a.turn() != l || !a.free() {
		if a.shared != nil {
			a.shared.wants(l, wants)
		}
		return false
	}
	a.held[l]++
	a.open++
	a.dequeue(l)
	if a.shared != nil {
		a.shared.wants(l, 0)
	}
	return true
}

// isShared reports whether the account is divided among several relays.
func (a *Account) isShared() bool { return a != nil && a.shared != nil }

// hasFree reports whether a connection is free.
func (a *Account) hasFree() bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.free()
}

// disconnect gives a connection of a lane back.
func (a *Account) disconnect(l *Lane) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[l]--
	if a.held[l] == 0 {
		delete(a.held, l)
	}
	a.open--
	if s := a.shared; s != nil {
		if s.leaving > 0 {
			s.leaving--
			s.wakeKeeper()
		}
	}
	a.call()
}

// leave takes a lane that needs no further connection out of the queue.
func (a *Account) leave(l *Lane) {
	if a == nil || !a.wanted.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dequeue(l)
	if a.shared != nil {
		a.shared.wants(l, 0)
	}
}

func (a *Account) dequeue(l *Lane) {
	if i := slices.Index(a.queue, l); i >= 0 {
		a.queue = slices.Delete(a.queue, i, i+1)
		a.wanted.Store(len(a.queue) > 0)
		a.call()
	}
}

// turn is the lane in the queue that gets the next connection: of those with the fewest, the one that has
// waited longest. It is nil if none waits.
func (a *Account) turn() (next *Lane) {
	for _, l := range a.queue {
		if next == nil || a.held[l] < a.held[next] {
			next = l
		}
	}
	return next
}

// call tells the lane whose turn it is that there is a connection.
func (a *Account) call() {
	if next := a.turn(); next != nil && a.free() {
		next.Kick()
	}
}

// yields reports whether a lane that has a connection should give it up, because the lane whose turn it is
// has fewer, or another relay does.
func (a *Account) yields(l *Lane) bool {
	if a == nil || a.shared == nil && !a.wanted.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over() {
		return true
	}
	next := a.turn()
	if next == nil || next == l || a.free() {
		return false
	}
	return a.held[next] == 0 || a.held[l] > a.held[next]+1
}

// tell passes a limit of the account that a lane met on to the others.
func (a *Account) tell(l *Lane, h *metLimit) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shared != nil {
		a.shared.tell(h)
	}
	a.tellMembers(l, h)
}

// tellMembers passes a limit on to the lanes of this relay, but for the one that met it.
func (a *Account) tellMembers(l *Lane, h *metLimit) {
	for other := range a.members {
		if other == l {
			continue
		}
		select {
		case other.signals <- signal{heard: h}:
		default: // it is busy with outcomes, and will meet the limit itself
		}
	}
}

// noteHeard handles a limit that another lane of the account met.
func (l *Lane) noteHeard(h *metLimit, now time.Time) {
	switch {
	case h.kind == rateLimit:
		l.slow(l.pace.throttle(now), h.refusal, now)
	case l.workers > 0:
		l.slow(l.pace.crowd(now, l.workers), h.refusal, now)
	}
}
