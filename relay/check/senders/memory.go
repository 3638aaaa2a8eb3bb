package senders

import (
	"context"
	"strings"

	"mailwhy/relay/internal/dnsclient"
)

// memory asks each question once: the upstreams of a domain, and the domains of an upstream, need the same
// answers.
type memory struct {
	dns   Resolver
	known map[question]reply
}

type question struct {
	name string
	t    dnsclient.Type
}

type reply struct {
	answer *dnsclient.Answer
	err    error
}

// Lookup implements Resolver.
func (m *memory) Lookup(ctx context.Context, name string, t dnsclient.Type) (*dnsclient.Answer, error) {
	q := question{strings.ToLower(strings.TrimSuffix(name, ".")), t}
	r, ok := m.known[q]
	if !ok {
		r.answer, r.err = m.dns.Lookup(ctx, name, t)
		m.known[q] = r
	}
	return r.answer, r.err
}
