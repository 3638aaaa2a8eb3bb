package app

import (
	"context"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/lane"
)

// This file joins the routes with the lanes: which upstream mail goes to, and when it moves to another one.

// joinRoutes makes the ways that mail can take, and what moves mail between them.
func (r *Relay) joinRoutes() {
	r.ways = accept.Ways{
		Route: func(m *relay.Message, i int) accept.Route { return r.router.Load().Route(m, i) },
		Down:  r.down,
		Full:  r.full,
	}
	r.mover = accept.Mover{
		Spool: r.spool, Ways: &r.ways, Record: r.record, Now: time.Now, Moved: r.taken,
		Known: func(name string) bool { return r.lanes.get(name) != nil },
	}
}

// down reports whether an upstream has been paused for so long that the next one of a route takes over.
func (r *Relay) down(name string) bool {
	h := r.lanes.get(name)
	if h == nil {
		return true
	}
	st := h.lane.State()
	return st.Paused && time.Since(st.Since) >= r.cfg.Load().Retry.FailoverAfter
}

// full reports whether an upstream has had its mail of the day.
func (r *Relay) full(name string) bool {
	u := r.cfg.Load().Upstream[name]
	return u != nil && u.DailyCap > 0 && r.caps.Count(name) >= u.DailyCap
}

// taken counts what an upstream with a daily cap gets.
func (r *Relay) taken(name string, recipients int) {
	if u := r.cfg.Load().Upstream[name]; u != nil && u.DailyCap > 0 {
		r.caps.Add(name, recipients)
	}
}

// ruling is what the policies order for a refusal; nil is nothing. No mail goes to an upstream that has had
// its mail of the day.
func (r *Relay) ruling(m *relay.Message, rc *relay.Recipient, d *diagnose.Diagnosis) *lane.Ruling {
	by := r.policies.Load().Ruling(m, rc, d)
	if by != nil && by.Action == lane.ActionRoute && r.full(by.Upstream) {
		return nil
	}
	return by
}

// findAstray has mail looked for that waits at an upstream which its route does not name. It never blocks.
func (r *Relay) findAstray() {
	select {
	case r.astray <- struct{}{}:
	default:
	}
}

// reconsiderRetry is how long after a failure the routes of waiting mail are looked at again.
const reconsiderRetry = time.Minute

// reconsiderRoutes moves mail whose route has changed whenever that is asked for, until ctx ends.
func (r *Relay) reconsiderRoutes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.astray:
		}
		n, err := r.reconsider(ctx)
		if n > 0 {
			r.log.Info("mail that waited for another upstream goes where the routes say now", "messages", n)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Error("mail cannot be moved to where the routes say; it is tried again", "err", err)
			time.AfterFunc(reconsiderRetry, r.findAstray)
		}
	}
}

// reconsider moves mail whose route has changed. Where all mail goes to one upstream that is done at once.
func (r *Relay) reconsider(ctx context.Context) (int, error) {
	cfg := r.cfg.Load()
	if name, ok := onlyUpstream(cfg); ok {
		n, err := r.spool.Reroute(ctx, r.lanes.names(), name)
		return int(n), err
	}
	return r.mover.Reconsider(ctx)
}

// onlyUpstream is the upstream that all mail goes to, if there is one.
func onlyUpstream(cfg *config.Config) (name string, ok bool) {
	if len(cfg.Route) != 1 || len(cfg.Route[0].Upstreams) != 1 || len(cfg.Upstream) != 1 {
		return "", false
	}
	name = cfg.Route[0].Upstreams[0]
	return name, len(cfg.Upstream[name].Domains) == 0
}

// failover moves the mail of upstreams that are down, until ctx ends.
func (r *Relay) failover(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(failoverLook(r.cfg.Load())):
		}
		for _, name := range r.lanes.names() {
			if r.down(name) {
				r.relieve(ctx, name)
			}
		}
	}
}

// failoverLook is how often the lanes are looked at.
func failoverLook(cfg *config.Config) time.Duration {
	return min(max(cfg.Retry.FailoverAfter/10, 100*time.Millisecond), 5*time.Second)
}

// relieve moves the mail of an upstream that is down.
func (r *Relay) relieve(ctx context.Context, name string) {
	n, err := r.mover.Relieve(ctx, name)
	if n > 0 {
		r.log.Warn("mail of a paused upstream goes to the next ones of its routes", "upstream", name,
			"messages", n)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("mail of a paused upstream cannot be moved to another one; it is tried again",
			"upstream", name, "err", err)
	}
}
