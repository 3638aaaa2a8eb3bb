package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
)

// Upstream is a next hop that is an HTTP API. It implements relay.Upstream.
type Upstream struct {
	o        Options
	client   *Client
	provider Provider
}

var _ relay.Upstream = (*Upstream)(nil)

// New makes an Upstream that uses client. It connects to nothing.
func New(o Options, client *Client, p Provider) (*Upstream, error) {
	o.setHooks()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("upstream %s: %w", o.Name, err)
	}
	return &Upstream{o: o, client: client, provider: p}, nil
}

// Relay implements relay.Upstream.
func (u *Upstream) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction,
	done func(*relay.Transaction, relay.Result)) {
	for t := first; t != nil; t = next() {
		d := &delivery{u: u, t: t, attempts: make([]relay.Attempt, len(t.Recipients)), began: u.o.Now()}
		sound := d.run(ctx)
		done(t, d.result())
		if !sound || ctx.Err() != nil {
			return
		}
	}
}

// Capabilities implements relay.Upstream. They are the API's, and known from the start.
func (u *Upstream) Capabilities() (relay.Capabilities, bool) {
	return relay.Capabilities{Size: u.o.Size, EightBit: true}, true
}

// Probe implements relay.Upstream.
func (u *Upstream) Probe(ctx context.Context) *relay.Attempt {
	began := u.o.Now()
	err := u.provider.Probe(ctx)
	if err == nil {
		return nil
	}
	return u.attempt(began, err)
}

// Explain is the attempt that the error of a call makes.
func (u *Upstream) Explain(err error) *relay.Attempt { return u.attempt(u.o.Now(), err) }

// Close implements relay.Upstream.
func (u *Upstream) Close() error {
	u.client.Close()
	return nil
}

// graced is a context for one call: it outlives ctx by the grace period.
func (u *Upstream) graced(ctx context.Context) (context.Context, context.CancelFunc) {
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(u.o.Grace)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-call.Done():
		}
	})
	return call, func() { stop(); cancel() }
}

// attempt is the attempt that an error of a call makes.
func (u *Upstream) attempt(began time.Time, err error) *relay.Attempt {
	a := &relay.Attempt{Time: began, Duration: u.o.Now().Sub(began), Upstream: u.o.Name,
		Host: u.o.Endpoint.Hostname()}
	outcome, answered := errors.AsType[*Outcome](err)
	failure, failed := errors.AsType[*Failure](err)
	switch {
	case answered:
		a.Stage, a.Verdict, a.Uncertain = outcome.Stage, outcome.Class, outcome.Uncertain
		a.Remote, a.TLS = outcome.Remote, outcome.TLS
		a.NetErr = diagnose.NetErr{Kind: outcome.Kind, Text: outcome.Text, Reason: outcome.Reason}
		if a.NetErr.Kind == diagnose.NetNone {
			a.NetErr.Kind = diagnose.NetAPI
		}
	case failed:
		a.Stage, a.NetErr, a.Remote, a.TLS = failure.Stage, failure.NetErr, failure.Remote, failure.TLS
		a.Uncertain = failure.Sent
	default:
		a.Stage, a.NetErr = diagnose.StageQueue, unread(err)
	}
	return a
}

// unread is the reason why a content could not be read.
func unread(err error) diagnose.NetErr {
	kind := diagnose.NetLocal
	if errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrNotFound) {
		kind = diagnose.NetCorrupt
	}
	return diagnose.NetErr{Kind: kind, Text: err.Error()}
}
