package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"mailwhy/config/value"
)

// Route says which upstreams mail goes to. Mail takes the first route of which every key that is given fits;
// the last route has none, and takes the rest.
type Route struct {
	Name       string   `toml:"name"`       // for the log; "route N" when empty
	Senders    []string `toml:"senders"`    // of the envelope
	Recipients []string `toml:"recipients"` // each recipient takes its own way
	Clients    []string `toml:"clients"`    // names of client networks or users
	Users      []string `toml:"users"`      // that authenticated
	Headers    []string `toml:"headers"`    // "Name: text in the value", or "Name" for any value
	Upstreams  []string `toml:"upstreams"`  // in order of preference
}

// completeRoutes names the routes, and makes the one that a single upstream needs.
func (c *Config) completeRoutes() {
	if len(c.Route) == 0 && len(c.Upstream) == 1 {
		c.Route = []Route{{Upstreams: sortedKeys(reflect.ValueOf(c.Upstream))}}
	}
	for i := range c.Route {
		if c.Route[i].Name == "" {
			c.Route[i].Name = fmt.Sprintf("route %d", i+1)
		}
	}
}

// conditional reports whether the route has a key.
func (r *Route) conditional() bool {
	return len(r.Senders)+len(r.Recipients)+len(r.Clients)+len(r.Users)+len(r.Headers) > 0
}

// validateRoutes checks that all mail has one way.
func (c *Config) validateRoutes(report reportFunc) {
	names := sortedKeys(reflect.ValueOf(c.Upstream))
	if len(c.Route) == 0 && len(names) > 1 {
		report("route", "is not set, but there are several upstreams: "+strings.Join(names, ", "),
			fmt.Sprintf("add [[route]] with upstreams = [%q, %q] to try them in this order, or a route "+
				"for each; flags and MAILWHY_UPSTREAM_... set %q", names[0], names[1], defaultUpstream))
		return
	}
	seen := map[string]bool{}
	for i := range c.Route {
		r := &c.Route[i]
		path := fmt.Sprintf("route[%d]", i)
		if seen[r.Name] {
			report(path+".name", fmt.Sprintf("%q is listed twice", r.Name), "")
		}
		seen[r.Name] = true
		last := i == len(c.Route)-1
		switch {
		case last && r.conditional():
			report(path, "is the last route and has conditions, so some mail would have no way",
				"add a last [[route]] with upstreams alone")
		case !last && !r.conditional():
			report(path, "has no conditions, so no route after it is ever used", "put it last")
		}
		c.validateRoute(path, r, report)
	}
	c.warnUnused(names)
}

// validateRoute checks one route.
func (c *Config) validateRoute(path string, r *Route, report reportFunc) {
	if len(r.Upstreams) == 0 {
		report(path+".upstreams", "is empty", `name the upstreams, as in ["ses", "smarthost"]`)
	}
	for i, name := range r.Upstreams {
		key := fmt.Sprintf("%s.upstreams[%d]", path, i)
		c.knowUpstream(key, name, report)
		if slices.Contains(r.Upstreams[:i], name) {
			report(key, fmt.Sprintf("%q is listed twice", name), "")
		}
	}
	checkPatterns(path+".senders", r.Senders, report)
	checkPatterns(path+".recipients", r.Recipients, report)
	for i, h := range r.Headers {
		name, _, _ := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); name == "" || strings.ContainsAny(name, " \t") {
			report(fmt.Sprintf("%s.headers[%d]", path, i), fmt.Sprintf("%q does not name a header field", h),
				`write "X-Stream: bulk", or "List-Id" for any value`)
		}
	}
}

// warnUnused warns of upstreams that no route names.
func (c *Config) warnUnused(names []string) {
	for _, name := range names {
		routed := slices.ContainsFunc(c.Route,
			func(r Route) bool { return slices.Contains(r.Upstreams, name) })
		if !routed && !slices.ContainsFunc(c.Policy, func(p Policy) bool { return p.Upstream == name }) {
			c.Warnings = append(c.Warnings,
				upstreamSection+"."+name+" is named by no route or policy: it gets no mail")
		}
	}
}

// validateDomains checks the sender domains of an upstream.
func (u *Upstream) validateDomains(path string, report reportFunc) {
	for i, d := range u.Domains {
		if !validHost(strings.TrimPrefix(d, ".")) {
			report(fmt.Sprintf("%s.domains[%d]", path, i), fmt.Sprintf("%q is not a domain", d),
				`write "example.com", or ".example.com" for its subdomains`)
		}
	}
}

// Policy says what is done about refusals. A refusal takes the first policy of which every key that is given
// fits; without one the reply decides.
type Policy struct {
	Name       string   `toml:"name"`       // for the log; "policy N" when empty
	Categories []string `toml:"categories"` // of the diagnosis, as the guide names them
	Reasons    []string `toml:"reasons"`
	Upstreams  []string `toml:"upstreams"`
	Recipients []string `toml:"recipients"`
	Clients    []string `toml:"clients"`                        // names of client networks or users
	Attempts   int      `toml:"attempts" min:"0" max:"1000000"` // it fits from this attempt on

	Action   string         `toml:"action" oneof:"retry fail hold route slow pause suppress notify"`
	Schedule value.Schedule `toml:"schedule"` // of retry
	For      time.Duration  `toml:"for" min:"0s" max:"365d"`
	Rate     value.Rate     `toml:"rate"`     // of slow
	Upstream string         `toml:"upstream"` // of route
	Notify   string         `toml:"notify"`   // address of an operator who gets a report, with any action
}

// The bounds of the time for which a policy slows or pauses a lane.
const (
	policyForMin = time.Second
	policyForMax = 7 * 24 * time.Hour
)

// completePolicies names the policies.
func (c *Config) completePolicies() {
	for i := range c.Policy {
		if c.Policy[i].Name == "" {
			c.Policy[i].Name = fmt.Sprintf("policy %d", i+1)
		}
	}
}

// validatePolicies checks the policies.
func (c *Config) validatePolicies(report reportFunc) {
	seen := map[string]bool{}
	for i := range c.Policy {
		p := &c.Policy[i]
		path := fmt.Sprintf("policy[%d]", i)
		if seen[p.Name] {
			report(path+".name", fmt.Sprintf("%q is listed twice", p.Name), "")
		}
		seen[p.Name] = true
		checkPatterns(path+".recipients", p.Recipients, report)
		for j, name := range p.Upstreams {
			c.knowUpstream(fmt.Sprintf("%s.upstreams[%d]", path, j), name, report)
		}
		if p.Upstream != "" {
			c.knowUpstream(path+".upstream", p.Upstream, report)
		}
		p.validateAction(path, report)
		if p.Action == "suppress" && c.Suppression.Mode == "off" {
			report(path+".action", `is "suppress", but suppression.mode is "off"`,
				`set suppression.mode = "enforce", or "observe" to see what it would do`)
		}
	}
}

// knowUpstream reports an upstream that there is not.
func (c *Config) knowUpstream(key, name string, report reportFunc) {
	if c.Upstream[name] == nil {
		report(key, fmt.Sprintf("there is no upstream %q", name),
			fmt.Sprintf("add [upstream.%s], or use one of %s", name,
				strings.Join(sortedKeys(reflect.ValueOf(c.Upstream)), ", ")))
	}
}

// validateAction checks that a policy has what its action needs, and nothing else.
func (p *Policy) validateAction(path string, report reportFunc) {
	for _, k := range []struct {
		key     string
		set     bool
		actions []string
		example string
	}{
		{"schedule", len(p.Schedule) > 0, []string{"retry"}, `"5m, 30m, 2h*4"`},
		{"for", p.For > 0, []string{"slow", "pause", "suppress"}, `"30m"`},
		{"rate", p.Rate.Messages > 0, []string{"slow"}, `"10/m"`},
		{"upstream", p.Upstream != "", []string{"route"}, "the name of an upstream"},
		{"notify", p.Notify != "", []string{"notify"}, "the address of an operator"},
	} {
		switch needs := slices.Contains(k.actions, p.Action); {
		case needs && !k.set:
			report(path+"."+k.key, fmt.Sprintf("is not set, but action %q needs it", p.Action),
				"write "+k.example)
		case !needs && k.set && k.key != "notify":
			report(path+"."+k.key, fmt.Sprintf("has no effect with action %q", p.Action),
				"it goes with action = "+strings.Join(k.actions, " or "))
		}
	}
	if p.Notify != "" && !validAddress(p.Notify) {
		report(path+".notify", fmt.Sprintf("%q is not an address", p.Notify), `write "ops@example.com"`)
	}
	if p.Action != "suppress" && p.For > 0 && (p.For < policyForMin || p.For > policyForMax) {
		report(path+".for", fmt.Sprintf("is %s", value.FormatDuration(p.For)), "write 1s to 7d")
	}
}

// Sandbox keeps mail away from its recipients, on machines for tests.
type Sandbox struct {
	Redirect string   `toml:"redirect"` // address that gets all mail
	Sink     bool     `toml:"sink"`     // no mail is relayed; it is kept in Dir
	Dir      string   `toml:"dir"`      // for Sink; sandbox in the spool directory when empty
	Allow    []string `toml:"allow"`    // recipients that get their mail all the same
	Subject  string   `toml:"subject"`  // in front of the subjects of redirected mail
}

// On reports whether mail is kept away from its recipients.
func (s *Sandbox) On() bool { return s.Redirect != "" || s.Sink }

// Notice says loudly what a sandbox does; "" while it is off.
func (s *Sandbox) Notice() string {
	except := ""
	if len(s.Allow) > 0 {
		except = ", but for " + strings.Join(s.Allow, ", ") + " (sandbox.allow)"
	}
	switch {
	case s.Sink:
		return "SANDBOX: no mail is relayed, it is kept in " + s.Dir + except
	case s.Redirect != "":
		return "SANDBOX: no mail goes to its recipients, all of it goes to " + s.Redirect + except
	}
	return ""
}

// completeSandbox fills in what depends on other settings. A sandbox that a variable names without a value is
// a mistake: it would be off without anybody noticing.
func (c *Config) completeSandbox(env []string, report reportFunc) {
	if c.Sandbox.Dir == "" && c.Spool.Dir != "" {
		c.Sandbox.Dir = filepath.Join(c.Spool.Dir, "sandbox")
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if key, ok := strings.CutPrefix(name, envPrefix+"SANDBOX_"); ok && value == "" {
			report("sandbox."+strings.ToLower(key), name+" is set, but empty",
				"unset it, or say what it is for: a sandbox that should be on must not be off by accident")
		}
	}
	switch notice := c.Sandbox.Notice(); {
	case notice != "":
		c.Warnings = append(c.Warnings, notice)
	case c.origin("sandbox.redirect") != "": // perhaps a template had nothing to put in
		c.Warnings = append(c.Warnings,
			"sandbox.redirect is empty: there is no sandbox, and mail goes to its recipients")
	}
}

// validateSandbox checks that a sandbox does what was meant, or that there is none.
func (c *Config) validateSandbox(report reportFunc) {
	s := &c.Sandbox
	if s.Redirect != "" && s.Sink {
		report("sandbox.sink", "is set beside sandbox.redirect", "choose one of them")
	}
	switch {
	case s.Redirect != "" && !plainAddress(s.Redirect):
		report("sandbox.redirect", fmt.Sprintf("%q is not a mail address", s.Redirect),
			`write "qa@example.com"`)
	case !s.On() && len(s.Allow) > 0:
		report("sandbox.allow", "is set, but no sandbox is: mail would go to all recipients",
			`set redirect = "qa@example.com", or sink = true`)
	case s.Sink && s.Dir == "":
		report("sandbox.dir", "is not set", "name a directory")
	}
	checkPatterns("sandbox.allow", s.Allow, report)
	if s.Subject != "" && (!validText(s.Subject) || len(s.Subject) > maxMark ||
		strings.ContainsFunc(s.Subject, func(r rune) bool { return r > unicode.MaxASCII })) {
		report("sandbox.subject", fmt.Sprintf("is not a mark of at most %d ASCII characters", maxMark),
			`write "[SANDBOX]"`)
	}
}

// maxMark is how long the mark in front of a subject may be.
const maxMark = 50
