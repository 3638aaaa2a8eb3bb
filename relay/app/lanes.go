package app

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/lane"
)

// hop is one configured upstream with the lane that works for it.
type hop struct {
	name    string
	account atomic.Pointer[account] // shared with other upstreams or relays; nil for none
	lane    *lane.Lane

	conf atomic.Pointer[config.Upstream] // in force, or the last one of an upstream that was removed
	next atomic.Pointer[relay.Upstream]  // the next hop, of whatever kind
	stop context.CancelFunc              // ends the lane's work; nil before it runs

	prepare func(*hop, *relay.Transaction) // makes a content what is to leave
}

var _ relay.Upstream = (*hop)(nil)

// laneAccount is the account as the lane has it.
func (h *hop) laneAccount() *lane.Account {
	if a := h.account.Load(); a != nil {
		return a.Account
	}
	return nil
}

// replace puts a configuration and its next hop in force and closes the idle connections of the one before.
// Exchanges under way finish with the next hop that they began with.
func (h *hop) replace(conf *config.Upstream, next relay.Upstream) {
	h.conf.Store(conf)
	if old := h.next.Swap(&next); old != nil {
		go (*old).Close()
	}
}

// Relay implements relay.Upstream.
func (h *hop) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction,
	done func(*relay.Transaction, relay.Result)) {
	h.prepare(h, first)
	prepared := func() *relay.Transaction {
		t := next()
		if t != nil {
			h.prepare(h, t)
		}
		return t
	}
	(*h.next.Load()).Relay(ctx, first, prepared, func(t *relay.Transaction, res relay.Result) {
		for i := range res.Attempts {
			res.Attempts[i].Changed = t.Changed
			res.Attempts[i].Upstream = h.name // the next hop may serve several names
		}
		res.Fault = h.named(res.Fault)
		done(t, res)
	})
}

// named gives an attempt the name of the upstream; nil stays nil.
func (h *hop) named(a *relay.Attempt) *relay.Attempt {
	if a != nil {
		a.Upstream = h.name
	}
	return a
}

// Capabilities implements relay.Upstream.
func (h *hop) Capabilities() (relay.Capabilities, bool) { return (*h.next.Load()).Capabilities() }

// Probe implements relay.Upstream.
func (h *hop) Probe(ctx context.Context) *relay.Attempt { return h.named((*h.next.Load()).Probe(ctx)) }

// Close implements relay.Upstream.
func (h *hop) Close() error { return (*h.next.Load()).Close() }

// settings are those of the lane. Where no rate is configured it is that of the account, if the provider
// tells it.
func (h *hop) settings(cfg *config.Config) lane.Settings {
	s := options.Lane(cfg, h.conf.Load())
	p, tells := (*h.next.Load()).(interface{ Rate() float64 })
	if s.Rate != (lane.Rate{}) || !tells {
		return s
	}
	switch r := p.Rate(); {
	case r >= 1:
		s.Rate = lane.Rate{Messages: int(r), Per: time.Second}
	case r > 0:
		s.Rate = lane.Rate{Messages: 1, Per: time.Duration(float64(time.Second) / r)}
	}
	return s
}

// lanes are the lanes of all configured upstreams, by name. Safe for concurrent use.
type lanes struct {
	make    func(name string, h *hop) *lane.Lane
	prepare func(*hop, *relay.Transaction) // see hop
	removed func()                         // called when a lane that was removed has finished its work
	cluster relay.Coordination             // divides the accounts among several relays; nil without others
	log     *slog.Logger

	mu       sync.RWMutex
	hops     map[string]*hop
	accounts map[config.Account]*account // that several upstreams share, or relays
	ctx      context.Context             // of run; nil while it does not run
	grace    func() time.Duration
	works    sync.WaitGroup
	kept     []*account // whose shares are asked for
}

// set puts upstreams in force: a new name gets a lane, a name that is there keeps its lane, and the lane of
// a name that is gone finishes what is under way and ends.
func (ls *lanes) set(upstreams map[string]*config.Upstream, hopsOf map[string]relay.Upstream) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	hops := map[string]*hop{}
	ls.share(upstreams, hopsOf)
	for name, conf := range upstreams {
		h := ls.hops[name]
		if h == nil {
			h = &hop{name: name, prepare: ls.prepare}
			h.account.Store(ls.accounts[conf.Account()])
			h.replace(conf, hopsOf[name])
			h.lane = ls.make(name, h)
			ls.start(h)
		} else {
			h.replace(conf, hopsOf[name])
			h.account.Store(ls.accounts[conf.Account()])
		}
		hops[name] = h
	}
	for name, h := range ls.hops {
		switch {
		case hops[name] != nil:
		case h.stop != nil:
			h.stop()
		default:
			h.Close()
		}
	}
	ls.hops = hops
}

// share makes the accounts that several upstreams or relays have in common. One that was there before is
// kept, since it knows what was sent. The caller holds mu.
func (ls *lanes) share(upstreams map[string]*config.Upstream, hopsOf map[string]relay.Upstream) {
	names := map[config.Account]int{}
	for _, u := range upstreams {
		names[u.Account()]++
	}
	accounts, known := map[config.Account]*account{}, accountNames(upstreams)
	for name, u := range upstreams {
		key := u.Account()
		if names[key] < 2 && ls.cluster == nil {
			continue
		}
		if accounts[key] = ls.accounts[key]; accounts[key] == nil {
			accounts[key] = newAccount(known[key], u, ls.cluster, ls.log)
		}
		next := hopsOf[name]
		accounts[key].next.Store(&next)
		accounts[key].Configure(u.Concurrency, lane.Rate(u.Rate))
	}
	ls.accounts = accounts
	if ls.ctx != nil {
		ls.keep()
	}
}

// keep has the shares of all accounts asked for. The caller holds mu. One that no upstream has any more is
// kept too, for its lanes finish what is under way.
func (ls *lanes) keep() {
	if ls.cluster == nil {
		return
	}
	for _, a := range ls.accounts {
		if a.stop == nil {
			a.keep()
			ls.kept = append(ls.kept, a)
		}
	}
}

// start runs the lane of h, if lanes run at all. The caller holds mu.
func (ls *lanes) start(h *hop) {
	if ls.ctx == nil {
		return
	}
	parent, grace := ls.ctx, ls.grace
	ctx, stop := context.WithCancel(parent)
	h.stop = stop
	ls.works.Go(func() {
		defer stop()
		h.lane.Run(ctx, grace())
		h.Close()
		if parent.Err() == nil {
			ls.removed()
		}
	})
}

// run works until ctx ends, and returns when the exchanges under way are over; grace bounds that.
func (ls *lanes) run(ctx context.Context, grace func() time.Duration) {
	ls.mu.Lock()
	ls.ctx, ls.grace = ctx, grace
	ls.keep()
	for _, h := range ls.hops {
		ls.start(h)
	}
	ls.mu.Unlock()
	<-ctx.Done()
	ls.mu.Lock()
	ls.ctx = nil // no lane starts any more
	ls.mu.Unlock()
	ls.works.Wait()
	for _, a := range ls.kept {
		a.stop()
	}
}

// close closes the connections to the upstreams. It is for lanes that do not run.
func (ls *lanes) close() {
	for _, h := range ls.all() {
		h.Close()
	}
}

// get is the upstream of a name; nil when there is none.
func (ls *lanes) get(name string) *hop {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return ls.hops[name]
}

// names are the names of the upstreams, sorted.
func (ls *lanes) names() []string {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	return slices.Sorted(maps.Keys(ls.hops))
}

// all are the upstreams, in the order of their names.
func (ls *lanes) all() []*hop {
	ls.mu.RLock()
	defer ls.mu.RUnlock()
	list := make([]*hop, 0, len(ls.hops))
	for _, name := range slices.Sorted(maps.Keys(ls.hops)) {
		list = append(list, ls.hops[name])
	}
	return list
}

// states say how each lane stands.
func (ls *lanes) states() []relay.LaneState {
	hops := ls.all()
	states := make([]relay.LaneState, len(hops))
	for i, h := range hops {
		states[i] = h.lane.State()
	}
	return states
}

// waiting is how many messages wait for a connection.
func (ls *lanes) waiting() (n int) {
	for _, h := range ls.all() {
		n += h.lane.Waiting()
	}
	return n
}

// tryNow makes every lane look for due messages now, and a paused one try its upstream.
func (ls *lanes) tryNow() {
	for _, h := range ls.all() {
		h.lane.Probe()
		h.lane.Kick()
	}
}

// capabilities are what the front door goes by: what every upstream takes, since MAIL comes before the
// recipients by which a message finds its lane. An extension counts only if each upstream that was reached
// offers it, but for SMTPUTF8, without which addresses are refused: there one is enough. The size limit is
// the smallest. An upstream that was not reached yet is taken to offer everything, as a single one is; ok is
// false when that is so of all of them.
func (ls *lanes) capabilities() (c relay.Capabilities, ok bool) {
	for _, h := range ls.all() {
		one, known := h.Capabilities()
		switch {
		case !known:
		case !ok:
			c, ok = one, true
		default:
			c = common(c, one)
		}
	}
	return c, ok
}

// common is what both of two upstreams take, and SMTPUTF8 if one does.
func common(a, b relay.Capabilities) relay.Capabilities {
	return relay.Capabilities{
		Size: smallest(a.Size, b.Size), RcptMax: smallest(a.RcptMax, b.RcptMax),
		DSN: a.DSN && b.DSN, SMTPUTF8: a.SMTPUTF8 || b.SMTPUTF8, EightBit: a.EightBit && b.EightBit,
		Pipelining: a.Pipelining && b.Pipelining,
	}
}

// smallest is the smaller of two limits; 0 is no limit.
func smallest[N int | int64](a, b N) N {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
