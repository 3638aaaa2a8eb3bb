package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/cluster/postgres"
	"mailwhy/relay/lane"
	"mailwhy/relay/suppress/replica"
	"mailwhy/relay/upstream/oauth"
)

// leaveWithin is how long a relay that stops waits to say so to the others. Without that they find it dead.
const leaveWithin = 3 * time.Second

// openCluster joins the relays that share the accounts, where that is configured.
func (r *Relay) openCluster(cfg *config.Config) error {
	if !cfg.Cluster.On() {
		return nil
	}
	o, err := options.Cluster(cfg, r.log)
	if err != nil {
		return &ConfigError{err}
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	if r.cluster, err = postgres.Open(ctx, o); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	r.lanes.cluster = r.cluster
	r.log.Info("joined the cluster", "name", cfg.Cluster.Name, "member", r.cluster.Self())
	return nil
}

// coordination is what the relays share; nil where there are no others.
func (r *Relay) coordination() relay.Coordination {
	if r.cluster == nil {
		return nil
	}
	return r.cluster
}

// sharedKey is the secret of a shared spool: that of the relay which came first. Each relay knows the reports
// of all.
func (r *Relay) sharedKey(cfg *config.Config, own []byte) ([]byte, error) {
	if r.cluster == nil || !cfg.Spool.Shared() {
		return own, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	e, _, err := r.cluster.Write(ctx, "spool key", 0, own, 0)
	if err != nil {
		return nil, fmt.Errorf("the key of the shared spool: %w", err)
	}
	return e.Body, nil
}

// closeCluster leaves the cluster.
func (r *Relay) closeCluster() {
	if r.cluster == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	if err := r.cluster.Leave(ctx); err != nil {
		r.log.Warn("cannot take leave of the cluster: the others find out later", "err", err)
	}
	r.cluster.Close()
}

// account is one that several upstreams, or several relays, have in common.
type account struct {
	*lane.Account
	next atomic.Pointer[relay.Upstream] // of its upstreams, which has its connections
	// stop ends what keeps its share, and waits for that; nil while it is not kept.
	stop func()
}

// newAccount makes the account of an upstream, divided under that name among the relays of the cluster, if
// there is one.
func newAccount(name string, u *config.Upstream, c relay.Coordination, log *slog.Logger) *account {
	a := &account{Account: lane.NewAccount(u.Concurrency, lane.Rate(u.Rate))}
	if c != nil {
		a.Share(lane.Sharing{Shares: c, Board: c, Self: c.Self(), Name: name, Log: log,
			Keeper: a.keeper})
	}
	return a
}

// accountNames are the names by which the accounts of upstreams are known to other relays. Where two accounts
// differ in their secret alone one of them is told apart by an upstream, which all relays call the same.
func accountNames(upstreams map[string]*config.Upstream) map[config.Account]string {
	names, taken := map[config.Account]string{}, map[string]bool{}
	for _, upstream := range slices.Sorted(maps.Keys(upstreams)) {
		u := upstreams[upstream]
		if _, named := names[u.Account()]; named {
			continue
		}
		name := u.AccountName()
		if taken[name] {
			name += " " + upstream
		}
		names[u.Account()], taken[name] = name, true
	}
	return names
}

// keeper is what has the connections; nil where none are kept.
func (a *account) keeper() relay.ConnectionKeeper {
	if next := a.next.Load(); next != nil {
		k, _ := (*next).(relay.ConnectionKeeper)
		return k
	}
	return nil
}

// keep asks for the account's share from now on, until it is stopped.
func (a *account) keep() {
	if a.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { a.Keep(ctx); close(ended) }()
	a.stop = func() { cancel(); <-ended }
}

// members is who asks for the live relays of the cluster; nil where there is none.
func (r *Relay) members() func(context.Context) ([]relay.Member, error) {
	if r.cluster == nil {
		return nil
	}
	return r.cluster.Members
}

// sharedListEvery is how often the suppression list is compared with those of the other relays.
const sharedListEvery = 2 * time.Second

// shareSuppressions keeps the suppression list like those of the other relays of the cluster, if there is
// one, until it is stopped.
func (r *Relay) shareSuppressions(ctx context.Context) (stop func()) {
	if r.cluster == nil || r.suppressed == nil {
		return func() {}
	}
	list := replica.New(replica.Options{List: r.suppressed, Shared: r.cluster.Suppressions(),
		Every: sharedListEvery, Log: r.log})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { list.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// sharedTokens are the tokens of an upstream that the relays of the cluster share; nil without a cluster, or
// without a key by which they are sealed.
func (r *Relay) sharedTokens(cfg *config.Config, name string) *oauth.Shared {
	if r.cluster == nil || cfg.Cluster.SecretFile == "" {
		return nil
	}
	return options.SharedTokens(name, cfg.Upstream[name], r.cluster, r.log)
}
