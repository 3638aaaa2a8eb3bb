package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/accept"
	"mailwhy/relay/app/outgoing"
	"mailwhy/relay/internal/address"
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

// RouteQuery is mail whose way is asked for.
type RouteQuery struct {
	From    string // envelope sender; "<>" is the null sender
	To      []string
	Client  string   // name of the client network; User when empty
	User    string   // as authenticated
	Headers []string // "Name: value"
}

// Routes are the routes of the recipients by a configuration, in the order of To. The error is a mistake in
// the query or the configuration.
func (q *RouteQuery) Routes(cfg *config.Config) ([]accept.Route, error) {
	router, err := NewRouter(cfg)
	if err != nil {
		return nil, err
	}
	m, err := q.message()
	if err != nil {
		return nil, err
	}
	routes := make([]accept.Route, len(m.Recipients))
	for i := range routes {
		routes[i] = router.Route(m, i)
	}
	return routes, nil
}

// message is the mail.
func (q *RouteQuery) message() (*relay.Message, error) {
	m := &relay.Message{Client: relay.Client{Name: q.Client, User: q.User}, Headers: map[string]string{}}
	if m.Client.Name == "" {
		m.Client.Name = q.User
	}
	var err error
	if q.From != "<>" && q.From != "" {
		if m.Envelope.From, err = address.Parse(q.From, true); err != nil {
			return nil, fmt.Errorf("sender %s: %w", q.From, err)
		}
	}
	for _, to := range q.To {
		parsed, err := address.Parse(to, true)
		if err != nil {
			return nil, fmt.Errorf("recipient %s: %w", to, err)
		}
		m.Recipients = append(m.Recipients, relay.Recipient{Address: parsed})
	}
	for _, h := range q.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf(`header %q: write "Name: value"`, h)
		}
		m.Headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	return m, nil
}

// PolicyQuery is a refusal of which is asked what would be done about it.
type PolicyQuery struct {
	Reply    string
	Stage    diagnose.Stage
	From, To string // "" is nobody in particular; the null sender is "<>"
	Client   string // name of the client network or user
	Upstream string // "" is the one that the routes choose
	Attempt  int    // number of the attempt, from 1
}

// PolicyAnswer is what would be done about it.
type PolicyAnswer struct {
	Diagnosis diagnose.Diagnosis
	lane.Outlook
	Ruling *lane.Ruling // of the policy that fits, which may have no say; nil when none fits
}

// Answer is what a configuration has done about a refusal. The error is a mistake in the query or in the
// configuration.
func (q *PolicyQuery) Answer(cfg *config.Config) (a PolicyAnswer, err error) {
	engine, err := newEngine(cfg)
	if err != nil {
		return a, err
	}
	policies, err := NewPolicies(cfg, engine)
	if err != nil {
		return a, err
	}
	m, u, err := q.message(cfg)
	if err != nil {
		return a, err
	}
	tried := relay.Attempt{Stage: q.Stage, Reply: diagnose.ParseReply(q.Reply)}
	if c := tried.Class(); c != 4 && c != 5 {
		return a, fmt.Errorf("%q is not a refusal: it must begin with 4yz or 5yz", q.Reply)
	}
	r := &m.Recipients[0]
	r.Attempts = max(q.Attempt, 1) - 1
	a.Diagnosis = engine.Diagnose(diagnose.Symptom{Stage: q.Stage, Reply: tried.Reply, Upstream: u.Host})
	a.Ruling = policies.Ruling(m, r, &a.Diagnosis)
	a.Outlook = lane.Foresee(laneSettings(cfg, u).Policy, m, r, &tried, &a.Diagnosis, a.Ruling)
	return a, nil
}

// message is the mail that was refused, and the upstream that did.
func (q *PolicyQuery) message(cfg *config.Config) (*relay.Message, *config.Upstream, error) {
	route := RouteQuery{From: cmp.Or(q.From, "sender@example.com"), Client: q.Client,
		To: []string{cmp.Or(q.To, "user@example.com")}}
	m, err := route.message()
	if err != nil {
		return nil, nil, err
	}
	m.Lane, m.Arrived = q.Upstream, time.Now()
	if m.Lane == "" {
		routes, err := route.Routes(cfg)
		if err != nil {
			return nil, nil, err
		}
		if len(routes[0].Upstreams) == 0 {
			return nil, nil, fmt.Errorf("no upstream may send for %s", route.From)
		}
		m.Lane = routes[0].Upstreams[0]
	}
	u := cfg.Upstream[m.Lane]
	if u == nil {
		return nil, nil, fmt.Errorf("there is no upstream %q", m.Lane)
	}
	return m, u, nil
}

// RewriteQuery is mail of which is asked how it would leave.
type RewriteQuery struct {
	RouteQuery
	Content []byte // lines end in CRLF
}

// Leaving is the mail as it would leave by a configuration: repaired, rewritten and signed. The error is a
// mistake in the query or the configuration.
func (q *RewriteQuery) Leaving(cfg *config.Config, log *slog.Logger) ([]outgoing.Leaving, error) {
	out, errOut := outgoing.New(cfg, log)
	router, errRouter := NewRouter(cfg)
	m, errMessage := q.message()
	if err := errors.Join(errOut, errRouter, errMessage); err != nil {
		return nil, err
	}
	m.Arrived = time.Now()
	m.ID = relay.NewID(m.Arrived)
	mended, err := io.ReadAll(newMender(cfg, log).Mend(m, true, bytes.NewReader(q.Content)))
	if err != nil {
		return nil, err
	}
	describe(m, mended, router.Headers())
	out.Accept(m)
	for i := range m.Recipients {
		if r := router.Route(m, i); len(r.Upstreams) == 0 {
			return nil, fmt.Errorf("recipient %s: %s", m.Recipients[i].Address, r.Reason)
		}
	}
	return out.Preview(m, mended, func(i int) string { return router.Route(m, i).Upstreams[0] })
}

// describe notes in m what its header says, as far as routes and signatures depend on it.
func describe(m *relay.Message, content []byte, headers []string) {
	parsed, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return
	}
	if from, err := parsed.Header.AddressList("From"); err == nil {
		m.HeaderFrom = address.Domain(from[0].Address)
	}
	for _, name := range headers {
		if values := parsed.Header[textproto.CanonicalMIMEHeaderKey(name)]; len(values) > 0 {
			m.Headers[name] = values[0]
		}
	}
}
