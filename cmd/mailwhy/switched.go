package main

import (
	"context"
	"sync/atomic"

	"mailwhy/relay"
	"mailwhy/relay/upstream"
)

// switchedUpstream is the upstream in force. A reload replaces it; exchanges under way finish with the one they began
// with.
type switchedUpstream struct {
	current atomic.Pointer[upstream.Pool]
}

var _ relay.Upstream = (*switchedUpstream)(nil)

// replace puts pool in force and closes the idle connections of the one before.
func (s *switchedUpstream) replace(pool *upstream.Pool) {
	if old := s.current.Swap(pool); old != nil {
		go old.Close()
	}
}

func (s *switchedUpstream) Relay(ctx context.Context, first *relay.Transaction, next func() *relay.Transaction, done func(*relay.Transaction, relay.Result)) {
	s.current.Load().Relay(ctx, first, next, done)
}

func (s *switchedUpstream) Capabilities() (relay.Capabilities, bool) {
	return s.current.Load().Capabilities()
}

func (s *switchedUpstream) Probe(ctx context.Context) *relay.Attempt {
	return s.current.Load().Probe(ctx)
}

func (s *switchedUpstream) Close() error {
	if p := s.current.Load(); p != nil {
		return p.Close()
	}
	return nil
}
