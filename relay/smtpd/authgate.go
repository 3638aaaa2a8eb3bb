package smtpd

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// errAuthBusy is returned to those whose password is not looked at now.
var errAuthBusy = errors.New("too many passwords are waiting to be checked")

// The bounds of the queue for password checks. A check is slow on purpose (tens of milliseconds), so that guessers could
// keep honest logins waiting.
const (
	authForget     = 15 * time.Minute // failures count for so long after the last one
	authUserGuess  = 10               // failures of one name after which addresses that are new to it come later
	authSuspects   = 8                // checks that wait after a failure; the others are refused at once
	authWait       = 10 * time.Second // at most for a check
	authMaxEntries = 4096             // of each memory
)

// authGate decides whose password is checked next. One is checked at a time, for the memory that argon2id takes. Those
// who have not failed go before those who have, so that honest logins wait for one check at most, however many guess.
// It is safe for concurrent use.
type authGate struct {
	now func() time.Time

	mu      sync.Mutex
	busy    bool
	waiting []*authTry // in the order in which they came
	addrs   memory[netip.Prefix]
	users   memory[string]
	pairs   memory[authKey]
	good    memory[authKey]      // who has been right from where
	late    memory[netip.Prefix] // who was put off without a check
}

// authKey is a name and where it is used from.
type authKey struct {
	from netip.Prefix
	name string
}

// authTry is one check that waits.
type authTry struct {
	key   authKey
	ready chan error // nil: it may be done now
}

func newAuthGate(now func() time.Time) *authGate { return &authGate{now: now} }

// authKeyOf is the key of a name that a client uses. Whoever has an IPv6 address has its /64 (RFC 6177). A client without
// an address is on a unix socket.
func authKeyOf(addr netip.Addr, name string) authKey {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits)
	return authKey{p, name[:min(len(name), 256)]}
}

// enter waits for the turn of key, and returns what must be called with the outcome when the password was checked. It
// gives up with ctx, after authWait, and at once for those who come after too many others who have failed.
func (g *authGate) enter(ctx context.Context, key authKey) (leave func(ok bool), err error) {
	leave = func(ok bool) { g.leave(key, ok) }
	g.mu.Lock()
	if !g.busy {
		g.busy = true
		g.mu.Unlock()
		return leave, nil
	}
	try := &authTry{key: key, ready: make(chan error, 1)}
	g.waiting = append(g.waiting, try)
	g.limitSuspects()
	g.mu.Unlock()
	timer := time.NewTimer(authWait)
	defer timer.Stop()
	select {
	case err = <-try.ready:
		return leave, err
	case <-timer.C:
		err = errAuthBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	return leave, g.abandon(try, err)
}

// abandon takes a try out of the queue. One whose turn has come meanwhile goes on.
func (g *authGate) abandon(try *authTry, err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == try {
			g.remove(i)
			g.late.add(try.key.from, g.now())
			return err
		}
	}
	return <-try.ready
}

func (g *authGate) remove(i int) { g.waiting = append(g.waiting[:i], g.waiting[i+1:]...) }

// leave takes in the outcome of a check and lets the next one begin.
func (g *authGate) leave(key authKey, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if ok {
		g.good.add(key, now)
		delete(g.pairs, key)
	} else {
		g.addrs.add(key.from, now)
		g.users.add(key.name, now)
		g.pairs.add(key, now)
	}
	g.limitSuspects()
	if g.busy = len(g.waiting) > 0; g.busy {
		i := g.best()
		try := g.waiting[i]
		g.remove(i)
		try.ready <- nil
	}
}

// rank is how late somebody's turn is: 0 for an address that has not failed, or was right about this name before; 1 for
// one that has not failed but names somebody who is being guessed at, or was put off before, so that a flood of addresses
// does not come first again each time it is put off; 2 for one that has failed, but not about this name;
// from 3 on by the number of failures. Names that exist and others rank alike.
func (g *authGate) rank(key authKey) int {
	now := g.now()
	pair := g.pairs.count(key, now)
	switch {
	case g.good.count(key, now) > 0 && pair == 0:
		return 0
	case pair > 0:
		return 2 + pair
	case g.addrs.count(key.from, now) > 0:
		return 2
	case g.users.count(key.name, now) >= authUserGuess, g.late.count(key.from, now) > 0:
		return 1
	}
	return 0
}

// suspect is the first rank of those who have failed.
const suspect = 2

// best is the index of whose turn it is: the lowest rank. Of those who have failed the first who came is first; of the
// others the last, since in a flood of new addresses who has waited long is most likely part of it.
func (g *authGate) best() int {
	best, lowest := 0, g.rank(g.waiting[0].key)
	for i, w := range g.waiting[1:] {
		r := g.rank(w.key)
		if r < lowest || r == lowest && r < suspect {
			best, lowest = i+1, r
		}
	}
	return best
}

// limitSuspects refuses those who have failed and come after authSuspects others who have.
func (g *authGate) limitSuspects() {
	for {
		n, last, worst := 0, 0, 0
		for i, w := range g.waiting {
			r := g.rank(w.key)
			if r >= suspect {
				n++
			}
			if r >= worst {
				last, worst = i, r
			}
		}
		if n <= authSuspects {
			return
		}
		g.waiting[last].ready <- errAuthBusy
		g.remove(last)
	}
}

// memory counts what was seen of each key, and forgets keys that were not seen for authForget. Its size is bounded: when it is
// full the old ones go, and if there are none, any.
type memory[K comparable] map[K]seen

type seen struct {
	n    int
	last time.Time
}

// count is how often key was seen.
func (m memory[K]) count(key K, now time.Time) int {
	s := m[key]
	if since := now.Sub(s.last); since < 0 || since > authForget {
		return 0
	}
	return s.n
}

// add counts key once more.
func (m *memory[K]) add(key K, now time.Time) {
	if *m == nil {
		*m = memory[K]{}
	}
	n := m.count(key, now)
	if _, there := (*m)[key]; !there && len(*m) >= authMaxEntries {
		m.shrink(now)
	}
	(*m)[key] = seen{n + 1, now}
}

// shrink makes room.
func (m memory[K]) shrink(now time.Time) {
	for key := range m {
		if m.count(key, now) == 0 {
			delete(m, key)
		}
	}
	for key := range m {
		if len(m) < authMaxEntries {
			return
		}
		delete(m, key)
	}
}
