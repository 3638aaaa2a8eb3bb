package app

import (
	"context"
	"sync"
	"time"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	"mailwhy/relay/suppress/replica"
	"mailwhy/relay/upstream/oauth"
)

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
