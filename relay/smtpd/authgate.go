package smtpd

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// errAuthBusy means that the password is not checked now.
var errAuthBusy = errors.New("too many passwords are waiting to be checked")

// The bounds of the queue for password checks. A check is slow on purpose (tens of milliseconds), so
// guessers could keep honest logins waiting.
const (
	authForget     = 15 * time.Minute // failures count this long after the last one
	authUserGuess  = 10               // failures of one name after which addresses new to it rank lower
	authSuspects   = 8                // clients with failures that may wait; others are refused at once
	authWait       = 10 * time.Second // for a check, at most
	authMaxEntries = 4096             // per memory
)

// authGate decides whose password is checked next. Only one is checked at a time, because argon2id takes
// much memory. Clients that have not failed go before those that have, so that an honest login waits for
// one check at most, however many clients guess. It is safe for concurrent use.
type authGate struct {
	now func() time.Time

	mu      sync.Mutex
	busy    bool
	waiting []*authTry // in the order in which they came
	addrs   memory[netip.Prefix]
	users   memory[string]
	pairs   memory[authKey]
	good    memory[authKey]      // successful logins
	late    memory[netip.Prefix] // refused without a check
}

// authKey is a user name and the network it is used from.
type authKey struct {
	from netip.Prefix
	name string
}

// authTry is one waiting check.
type authTry struct {
	key   authKey
	ready chan error // nil: go ahead
}

func newAuthGate(now func() time.Time) *authGate { return &authGate{now: now} }

// authKeyOf is the key of a user name and a client. A client with an IPv6 address has its whole /64 (RFC
// 6177). A client without an address is on a unix socket.
func authKeyOf(addr netip.Addr, name string) authKey {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits)
	return authKey{p, name[:min(len(name), 256)]}
}

// enter waits for the turn of key. The caller then checks the password and calls leave with the outcome.
// enter gives up when ctx ends, after authWait, and at once if too many clients with failures are waiting
// before this one.
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

// abandon takes a try out of the queue. If its turn has come meanwhile, it goes ahead.
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

// leave records the outcome of a check and lets the next one begin.
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

// rank decides the order; the lowest goes first. It is 0 for an address that has not failed, or has logged
// in with this name before; 1 for one that has not failed but uses a name that is being guessed, or was
// refused without a check before, so that a flood of new addresses does not come first each time; 2 for one
// that has failed, but not with this name; and 3 or more by the number of failures. It does not matter
// whether the name exists.
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

// suspect is the lowest rank of clients that have failed.
const suspect = 2

// best is the index of the next try: the one with the lowest rank. Among clients that have failed, the
// first to arrive goes first. Among the others the last goes first: in a flood of new addresses, one that
// has waited long is most likely part of the flood.
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

// limitSuspects refuses clients with failures beyond the best authSuspects of them.
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

// memory counts how often each key was seen, and forgets keys that were not seen for authForget. Its size
// is bounded: when it is full it drops old keys, or any if there are none.
type memory[K comparable] map[K]seen

type seen struct {
	n    int
	last time.Time
}

// count returns how often key was seen.
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
