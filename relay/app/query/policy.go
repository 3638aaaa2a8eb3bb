package query

import (
	"cmp"
	"fmt"
	"time"

	"mailwhy/config"
	"mailwhy/config/value"
	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/lane"
)

// Policy is a refusal of which is asked what would be done about it.
type Policy struct {
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
func (q *Policy) Answer(cfg *config.Config) (a PolicyAnswer, err error) {
	engine, err := options.Engine(cfg)
	if err != nil {
		return a, err
	}
	policies, err := options.Policies(cfg, engine)
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
	a.Outlook = lane.Foresee(options.Lane(cfg, u).Policy, m, r, &tried, &a.Diagnosis, a.Ruling)
	return a, nil
}

// message is the mail that was refused, and the upstream that did.
func (q *Policy) message(cfg *config.Config) (*relay.Message, *config.Upstream, error) {
	route := Route{From: cmp.Or(q.From, "sender@example.com"), Client: q.Client,
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

// Note says in words what the policy that fits does beside the outcome; "" if there is nothing to say.
func (a *PolicyAnswer) Note() string {
	switch r := a.Ruling; {
	case r == nil:
		return ""
	case a.Policy == "":
		return "it has no say here, so the reply decides"
	case r.Action == lane.ActionRoute:
		return "the message moves to upstream " + r.Upstream
	case r.Action == lane.ActionSuppress:
		return "the address gets no more mail for " + value.FormatDuration(r.For)
	case r.Action == lane.ActionPause:
		return "the upstream pauses for " + value.FormatDuration(r.For)
	case r.Action == lane.ActionSlow:
		rate := value.Rate{Messages: r.Rate.Messages, Per: r.Rate.Per}
		return fmt.Sprintf("the upstream gets %s for %s", rate, value.FormatDuration(r.For))
	}
	return ""
}
