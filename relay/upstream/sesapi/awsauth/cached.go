package awsauth

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// The rules of refreshing.
const (
	early     = 5 * time.Minute // before their end credentials are replaced, or at half of a shorter life
	firstWait = 5 * time.Second // after a failure; doubled after each further one
	longest   = 5 * time.Minute
	flight    = time.Minute // of one fetch
)

// Cached keeps the credentials of a Source for as long as they are good. It is safe for concurrent use. At
// most one fetch is under way; meanwhile the old credentials are handed out, as long as they last.
type Cached struct {
	name   string
	source Source
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	have    Credentials
	fetched time.Time // when have came; zero: never
	err     error     // of the latest fetch
	retryAt time.Time
	wait    time.Duration
	flying  chan struct{}
}

// NewCached makes a Cached for the upstream called name. It fetches nothing yet.
func NewCached(name string, s Source, log *slog.Logger, now func() time.Time) *Cached {
	return &Cached{name: name, source: s, log: log, now: now}
}

// Credentials returns credentials that are good now. Its error is the Source's, or the context's.
func (c *Cached) Credentials(ctx context.Context) (Credentials, error) {
	for {
		c.mu.Lock()
		now := c.now()
		live := !c.fetched.IsZero() && (c.have.Expires.IsZero() || now.Before(c.have.Expires))
		if live && now.Before(c.refreshAt()) {
			defer c.mu.Unlock()
			return c.have, nil
		}
		if c.flying == nil && !now.Before(c.retryAt) {
			c.begin()
		}
		have, err, flying := c.have, c.err, c.flying
		c.mu.Unlock()
		switch {
		case live:
			return have, nil
		case flying == nil:
			return Credentials{}, err
		}
		select {
		case <-flying:
		case <-ctx.Done():
			return Credentials{}, ctx.Err()
		}
	}
}

// refreshAt is when the credentials should be replaced. Those that do not expire are read again once a
// minute, since the file of the secret may have changed.
func (c *Cached) refreshAt() time.Time {
	if c.have.Expires.IsZero() {
		return c.fetched.Add(time.Minute)
	}
	return c.have.Expires.Add(-min(early, c.have.Expires.Sub(c.fetched)/2))
}

// Forget drops the credentials, which were refused. It reports whether it had any that were not new.
func (c *Cached) Forget() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fetched.IsZero() || c.now().Sub(c.fetched) < time.Minute {
		return false
	}
	c.have, c.fetched = Credentials{}, time.Time{}
	return true
}

// begin starts a fetch. The caller holds the mutex.
func (c *Cached) begin() {
	done := make(chan struct{})
	c.flying = done
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), flight)
		defer cancel()
		have, err := c.source.Fetch(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		defer close(done)
		now := c.now()
		c.flying, c.err = nil, err
		if err == nil {
			c.have, c.fetched, c.wait, c.retryAt = have, now, 0, time.Time{}
			return
		}
		c.wait = min(max(2*c.wait, firstWait), longest)
		c.retryAt = now.Add(c.wait)
		c.log.Warn("no new credentials", "upstream", c.name, "err", err, "next_try", c.wait)
	}()
}
