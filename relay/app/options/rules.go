package options

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/config/mistake"
	"mailwhy/diagnose"
	"mailwhy/relay/accept"
	"mailwhy/relay/lane"
	"mailwhy/relay/lane/policy"
)

// Router makes the router of a configuration.
func Router(cfg *config.Config) (*accept.Router, error) {
	rules := make([]accept.Rule, len(cfg.Route))
	for i, r := range cfg.Route {
		rules[i] = accept.Rule{
			Name: r.Name, Senders: r.Senders, Recipients: r.Recipients, Clients: r.Clients, Users: r.Users,
			Headers: map[string]string{}, Upstreams: r.Upstreams,
		}
		for _, h := range r.Headers {
			name, text, _ := strings.Cut(h, ":")
			rules[i].Headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(text)
		}
	}
	var upstreams []accept.Candidate
	for name, u := range cfg.Upstream {
		c := accept.Candidate{Name: name, Weight: u.Weight}
		for _, d := range u.Domains {
			c.Domains = append(c.Domains, "@"+d)
		}
		upstreams = append(upstreams, c)
	}
	return accept.NewRouter(rules, upstreams)
}

// Policies makes what a configuration orders for refusals, as the engine knows them. What is wrong is in
// the error, all of it.
func Policies(cfg *config.Config, engine *diagnose.Engine) (*policy.Set, error) {
	var categories, names []string
	for _, c := range engine.Categories() {
		categories = append(categories, string(c.Name))
	}
	for _, r := range engine.Reasons() {
		names = append(names, string(r.ID))
	}
	rules := make([]policy.Rule, len(cfg.Policy))
	var errs []error
	known := func(i int, key string, names, all []string) {
		for j, name := range names {
			if !slices.Contains(all, name) {
				hint := cmp.Or(mistake.Nearest(name, all), "`mailwhy guide` lists them all")
				errs = append(errs, fmt.Errorf("policy[%d].%s[%d]: there is no %q; %s", i, key, j, name,
					hint))
			}
		}
	}
	for i, p := range cfg.Policy {
		known(i, "categories", p.Categories, categories)
		known(i, "reasons", p.Reasons, names)
		rules[i] = policyRule(cfg, &p)
	}
	set, err := policy.New(rules)
	return set, errors.Join(append(errs, err)...)
}

// policyRule is one policy.
func policyRule(cfg *config.Config, p *config.Policy) policy.Rule {
	rule := policy.Rule{
		Upstreams: p.Upstreams, Recipients: p.Recipients, Clients: p.Clients, Attempts: p.Attempts,
		Ruling: lane.Ruling{
			Policy: p.Name, Action: lane.Action(p.Action), Schedule: p.Schedule, For: p.For,
			Rate: lane.Rate{Messages: p.Rate.Messages, Per: p.Rate.Per}, Upstream: p.Upstream,
			Notify: p.Notify,
		},
	}
	for _, name := range p.Categories {
		rule.Categories = append(rule.Categories, diagnose.Category(name))
	}
	for _, name := range p.Reasons {
		rule.Reasons = append(rule.Reasons, diagnose.Reason(name))
	}
	if u := cfg.Upstream[p.Upstream]; u != nil {
		for _, d := range u.Domains {
			rule.SendersOfUpstream = append(rule.SendersOfUpstream, "@"+d)
		}
	}
	return rule
}

// Lane are the part of a lane for the upstream u, which may no longer be configured.
func Lane(cfg *config.Config, u *config.Upstream) lane.Settings {
	return lane.Settings{
		Policy: lane.Policy{
			Schedule:   cfg.Retry.Schedule,
			Expiry:     cfg.Retry.ExpireAfter,
			Jitter:     cfg.Retry.Jitter,
			RetryAfter: lane.Bounds{Min: time.Second, Max: cfg.Retry.MaxRetryAfter},
			DelayAfter: cfg.DSN.DelayAfter,
			Collect:    cfg.DSN.Collect,
		},
		Concurrency: u.Concurrency,
		Rate:        lane.Rate{Messages: u.Rate.Messages, Per: u.Rate.Per},
		Probe:       lane.Bounds{Min: time.Second, Max: 5 * time.Minute},
		ProbeAuth:   lane.Bounds{Min: time.Minute, Max: 30 * time.Minute},
		ProbeToken:  lane.Bounds{Min: 5 * time.Second, Max: 5 * time.Minute},
	}
}

// Engine makes the diagnosis engine with the user's rules.
func Engine(cfg *config.Config) (*diagnose.Engine, error) {
	o := diagnose.Options{}
	if file := cfg.Diagnose.RulesFile; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("diagnose.rules_file: %w", err)
		}
		o.RulesName, o.Rules = file, b
	}
	return diagnose.New(o)
}
